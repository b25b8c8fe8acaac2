"""The attacks, a module for a family: functions of the program under attack that return figures by their units."""
