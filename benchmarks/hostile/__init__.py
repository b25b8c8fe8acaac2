"""Attacks on geventws over real sockets: what each costs the program under attack, beside what it may cost.

    table          a row for each attack, with its bounds
    attacks/       the attacks, a module for a family
    victim/        the program under attack, and hosts, which starts it
    honest         a peer that behaves, beside an attack, in a process of its own (asking)
    peers, dial, wire    the attackers' sockets and bytes, written apart from the package
    report         prints
"""
