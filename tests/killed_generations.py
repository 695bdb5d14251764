"""A program that generates the queries of a study, is killed again and again, and goes on to the end.

Arguments: the study file, the number of kills and the longest time until one, in seconds.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time

from sweep.generation import generate_queries, plan_generation
from sweep.signals import StopSignal
from sweep.storage.location import locate_study


def generate(file: str) -> None:
    with StopSignal() as stop:
        generate_queries(plan_generation(locate_study(file)), show=lambda _: None, stop=stop)


file, kills, longest_s = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
plan_generation(locate_study(file))  # imports what the others then have
for number in range(kills):
    child = os.fork()
    if child == 0:
        generate(file)
        os._exit(0)
    time.sleep(random.Random(number).uniform(0.2, 1.0) * longest_s)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
generate(file)
