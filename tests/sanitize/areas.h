/* areas.h - memory whose edges are pages that may not be touched, for driver.c. */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define AREA (1u << 18)

static unsigned long checked;

/* AREA bytes between two pages that may not be touched. */
struct area {
    uint8_t *start, *end;
};

static struct area new_area(void)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *memory = mmap(NULL, AREA + 2 * page, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct area area;

    if (memory == MAP_FAILED || mprotect(memory, page, PROT_NONE)
        || mprotect(memory + page + AREA, page, PROT_NONE)) {
        perror("mmap");
        exit(1);
    }
    area.start = memory + page;
    area.end = area.start + AREA;
    return area;
}

static struct area input, output, records, formats;
