"""What all connections of one gevent loop share: readiness, turns, clocks, greenlets, log lines, and forks."""
