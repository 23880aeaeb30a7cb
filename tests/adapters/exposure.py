"""What an error gives away to whoever gets hold of it."""

import traceback


def shown(error: BaseException) -> str:
    """Everything an error carries: what tracebacks suppress, and variables on its way to us."""
    parts: list[str] = []
    link: BaseException | None = error
    while link is not None:
        parts += [repr(link), str(link), repr(vars(link)), *traceback.format_exception(link)]
        parts += [
            repr(frame.f_locals)
            for frame, _ in traceback.walk_tb(link.__traceback__)
            if "csidriver" in frame.f_code.co_filename
        ]
        link = link.__cause__ or link.__context__
    return "\n".join(parts)
