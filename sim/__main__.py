from sim.plan import draw
from sim.world import simulate
import sys, time
first, n = int(sys.argv[1]), int(sys.argv[2])
t=time.process_time()
for seed in range(first, first+n):
    t0=time.process_time()
    v = simulate(draw(seed))
    print(seed, v.digest, "embedded" if v.plan.embedded else v.plan.masters, len(v.plan.workers), f"{v.lasted_s:.0f}s", v.jobs, v.requests, len(v.history.events), f"{time.process_time()-t0:.2f}", [ (x.invariant, x.text[:300]) for x in v.violations[:2]], flush=True)
    if len(sys.argv)>3:
        for e in v.history.events: print(e)
print((time.process_time()-t)/n)
