#ifndef LOAD_RUN_H
#define LOAD_RUN_H

#include "load.h"

/* Do what the options say and print the result; false when the connections could not all be opened. */
bool run(struct load *load);

#endif
