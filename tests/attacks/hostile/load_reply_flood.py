"""Forges the reply to being loaded: half a million functions with names like those asked for, and endless words."""
import gc

worker = next(o for o in gc.get_objects() if type(o).__name__ == "Worker")
names = ["softmaxx"[i % 8:] + "softmaxy"[: i % 8] for i in range(60_000)]
failed = {"type": "ValueError", "builtin": True, "message": "m" * 2_000_000, "trace": [(1, "t" * 1000)] * 50_000}
worker.channel.send(("reply", 1, "ok", {"failed": failed, "names": names, "np_is_numpy": 5}, [], []))
