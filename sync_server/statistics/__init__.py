"""Intervals and tests that stay valid however often one looks: functions of numbers, without database or HTTP."""
