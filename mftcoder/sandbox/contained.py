"""Contains one program: started as a script (`python -I -S contained.py`), it reads a job from standard input.

Three processes: this one keeps the time; its child is the first process of a PID namespace, so that the kernel kills
whatever is left in there when it ends; the grandchild becomes an unprivileged user and runs the program. Nothing is
imported but what starts in no time, since each program pays for it.
"""

from __future__ import annotations

import ctypes
import marshal
import os
import resource
import select
import stat
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

NEW_NAMESPACES = 0x00020000 | 0x08000000 | 0x04000000 | 0x20000000 | 0x40000000  # mount, IPC, UTS, PID, network
NEW_USER = 0x10000000
READ_ONLY, NO_SUID, NO_DEV, NO_EXEC, REMOUNT, BIND, RECURSIVE, PRIVATE = 1, 2, 4, 8, 32, 4096, 16384, 1 << 18
SET_PDEATHSIG, SET_DUMPABLE, SET_SUBREAPER, SET_NO_NEW_PRIVS = 1, 4, 36, 38
NOBODY = 65534
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
DEVICES = ("null", "zero", "random", "urandom")
SHOWN = 4000  # bytes of the program's output that are told
KILL = 9
FILE = "program"


class IsolationError(Exception):
    """The machine does not let us isolate the program."""


def main() -> None:
    """Run the job on standard input, a marshalled dict; another on standard output says what became of it."""
    call("prctl", SET_PDEATHSIG, KILL, 0, 0, 0)
    job: dict[str, Any] = marshal.load(sys.stdin.buffer)
    try:
        told = contained(job)
    except (IsolationError, OSError) as error:
        told = {"error": f"{error}"}
    marshal.dump(told, sys.stdout.buffer)


def contained(job: dict[str, Any]) -> dict[str, Any]:
    """Run the program; how it ended, what it printed, and whether it came to its end."""
    user = program_user()
    if job["isolate"]:
        isolate()
    else:
        call("prctl", SET_SUBREAPER, 1, 0, 0, 0)
    (report, report_end), (done, done_end) = os.pipe(), os.pipe()
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        os.close(report)
        os.close(done)
        first_process(job, user, report_end, done_end)
    os.close(report_end)
    os.close(done_end)
    late = wait(child, job["seconds"])
    said = read(report, 1 << 16)
    told = marshal.loads(said) if said else {} if late else {"error": "the sandbox ended without a word"}
    told = {"status": None, "output": "", **told, "late": late, "took": time.monotonic() - begun}
    return {**told, "finished": told["status"] == 0 and read(done, 64).decode("latin-1").startswith(job["nonce"])}


def wait(child: int, seconds: float) -> bool:
    """Wait for the first process, and kill it when the time is up; whether it was. Nothing is left of it then."""
    deadline = time.monotonic() + seconds
    late = not ended(child, deadline)
    if late:
        os.kill(child, KILL)
    os.waitpid(child, 0)
    end_orphans()
    return late


def ended(child: int, deadline: float) -> bool:
    """Whether a child, which is not waited for yet, ends before the deadline."""
    if not hasattr(os, "pidfd_open"):
        while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True
    poll, descriptor = select.poll(), os.pidfd_open(child)
    poll.register(descriptor, select.POLLIN)
    found = poll.poll(1000 * max(0.0, deadline - time.monotonic()))
    os.close(descriptor)
    return bool(found)


def end_orphans() -> None:
    """Kill what the program left behind where there is no PID namespace: it has become our child."""
    while True:
        try:
            with open(f"/proc/self/task/{os.getpid()}/children") as file:
                for pid in file.read().split():
                    os.kill(int(pid), KILL)
        except OSError:
            pass
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.001)
        except ChildProcessError:
            return


def isolate() -> None:
    """Enter namespaces of our own, by a user namespace where we are not root.

    Raises:
        IsolationError: the machine does not let us.
    """
    uid, gid = os.geteuid(), os.getegid()
    if call("unshare", NEW_NAMESPACES) == 0:
        return
    if call("unshare", NEW_NAMESPACES | NEW_USER) != 0:
        raise IsolationError(f"no namespaces for the program: {os.strerror(ctypes.get_errno())}")
    for name, text in (("setgroups", "deny"), ("gid_map", f"{NOBODY} {gid} 1"), ("uid_map", f"{NOBODY} {uid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def program_user() -> int | None:
    """A user id that nobody else has, so that the limit of processes counts this program's alone; None if not root."""
    return 0x40000000 + os.getpid() if os.geteuid() == 0 else None


def first_process(job: dict[str, Any], user: int | None, report: int, done: int) -> NoReturn:
    """Be the first process of the namespaces: set the scene, start the program, tell how it ended."""
    code = 1
    try:
        call("prctl", SET_PDEATHSIG, KILL, 0, 0, 0)
        home = new_root(job, user) if job["isolate"] else own_directory(job, user)
        output = os.open(os.path.join(home, ".output"), os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        program = os.fork()
        if program == 0:
            os.close(report)
            run(job, home, user, output, done)
        os.close(done)
        call("prctl", SET_DUMPABLE, 0, 0, 0, 0)
        os.write(report, marshal.dumps(ending(program, output)))
        code = 0
    except BaseException as error:
        os.write(report, marshal.dumps({"error": f"{type(error).__name__}: {error}"}))
    finally:
        os._exit(code)


def ending(program: int, output: int) -> dict[str, Any]:
    """The exit status of the program (negative: the signal that killed it) and the last of what it printed."""
    while True:
        pid, status = os.waitpid(-1, 0)
        if pid == program:
            break
    os.lseek(output, max(0, os.fstat(output).st_size - SHOWN), os.SEEK_SET)
    return {"status": os.waitstatus_to_exitcode(status), "output": read(output, SHOWN).decode("utf-8", "replace")}


def new_root(job: dict[str, Any], user: int | None) -> str:
    """Make a small file system in memory with the system's programs and Python, read-only, and an empty directory."""
    root = job["root"]
    mount(None, "/", None, RECURSIVE | PRIVATE)
    mount("tmpfs", root, "tmpfs", NO_SUID | NO_DEV, f"size={job['disk_bytes']},nr_inodes=4096,mode=755")
    for path in [*SYSTEM, *job["readable"]]:
        show(root, path)
    for name in DEVICES:
        bind(f"/dev/{name}", inside(root, f"/dev/{name}"), 0)
    for path in ("/dev/shm", "/tmp"):
        os.makedirs(inside(root, path), exist_ok=True)
        os.chmod(inside(root, path), 0o1777)
    show_processes(root)
    os.mkdir(inside(root, "/box"), 0o700)
    if user is not None:
        os.chown(inside(root, "/box"), user, user)
    os.chroot(root)
    os.chdir("/box")
    return "/box"


def show_processes(root: str) -> None:
    """Mount /proc with the program's own processes; some containers do not allow it, and few programs need it."""
    os.makedirs(inside(root, "/proc"))
    try:  # noqa: SIM105 - contextlib takes milliseconds to import.
        mount("proc", inside(root, "/proc"), "proc", NO_SUID | NO_DEV | NO_EXEC)
    except OSError:
        pass


def show(root: str, path: str) -> None:
    """Show a directory of ours at the same place, read-only; or a link as a link."""
    if os.path.islink(path):
        os.symlink(os.readlink(path), inside(root, path))
    elif os.path.isdir(path):
        bind(path, inside(root, path), READ_ONLY | NO_SUID | NO_DEV)


def bind(source: str, target: str, flags: int) -> None:
    """Mount a file or directory a second time; what its first mount forbids stays forbidden."""
    if stat.S_ISDIR(os.stat(source).st_mode):
        os.makedirs(target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_CREAT | os.O_WRONLY))
    mount(source, target, None, BIND)
    if flags:
        kept = os.statvfs(source).f_flag & (READ_ONLY | NO_SUID | NO_DEV | NO_EXEC | 1024 | 2048)  # and noatime
        mount(None, target, None, BIND | REMOUNT | flags | kept)


def own_directory(job: dict[str, Any], user: int | None) -> str:
    """Without a file system of its own, the program gets a directory that the caller deletes."""
    if user is not None:
        os.chown(job["root"], user, user)
    os.chdir(job["root"])
    return str(job["root"])


def run(job: dict[str, Any], home: str, user: int | None, output: int, done: int) -> NoReturn:
    """Give up all that we may do, and become the program."""
    os.setsid()
    null = os.open("/dev/null", os.O_RDONLY)
    for number, descriptor in ((0, null), (1, output), (2, output)):
        os.dup2(descriptor, number)
    os.dup2(done, 3, inheritable=False)
    os.closerange(4, 1024)
    limit(job)
    give_up(user)
    os.environ.clear()
    os.environ.update({"HOME": home, "PATH": "/usr/local/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "TMPDIR": home})
    os.umask(0o077)
    if job["command"]:
        become(job)
    sys.path += job["packages"]
    run_python(job["program"], job["nonce"])


def limit(job: dict[str, Any]) -> None:
    """Set the limits of each process that the program has."""
    memory = job["memory_bytes"]
    limits = {
        "RLIMIT_DATA": memory,
        "RLIMIT_CPU": int(job["seconds"]) + 1,
        "RLIMIT_FSIZE": job["file_bytes"],
        "RLIMIT_NPROC": job["processes"],
        "RLIMIT_NOFILE": job["open_files"],
        "RLIMIT_CORE": 0,
        "RLIMIT_MEMLOCK": 0,
        "RLIMIT_MSGQUEUE": 0,
    }
    if not job["command"]:  # Some interpreters reserve far more addresses than they use.
        limits["RLIMIT_AS"] = memory
    for name, value in limits.items():
        if (kind := getattr(resource, name, None)) is not None:
            hard = resource.getrlimit(kind)[1]
            lower = value if hard == resource.RLIM_INFINITY else min(value, hard)
            resource.setrlimit(kind, (lower, lower))


def give_up(user: int | None) -> None:
    """Become `user`, without any capability and without a way to get one."""
    if user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    call("prctl", SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    call("capset", ctypes.byref(header), ctypes.byref((ctypes.c_uint32 * 6)()))


def become(job: dict[str, Any]) -> NoReturn:
    """Run the program by its command, as `node {file}`."""
    words = [word.replace("{file}", FILE) for word in job["command"]]
    with open(FILE, "w", encoding="utf-8") as file:
        file.write(job["program"])
    try:
        os.execvpe(words[0], words, dict(os.environ))
    except OSError as error:
        os.write(2, f"{words[0]}: {error.strerror}".encode())
        os._exit(127)


def run_python(program: str, nonce: str) -> NoReturn:
    """Run the program here, and write down the nonce where it comes to its end; os._exit(0) is no end."""
    write, leave, show, flush = os.write, os._exit, sys.__excepthook__, sys.stdout.flush
    sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115
    try:
        exec(compile(program, "program", "exec"), {})
        flush()
    except BaseException as error:
        where = error.__traceback__
        show(type(error), error, where and where.tb_next)
    else:
        write(3, nonce.encode())
        leave(0)
    finally:
        leave(1)


def mount(source: str | None, target: str, kind: str | None, flags: int, options: str = "") -> None:
    """mount(2)."""
    words = [None if word is None else os.fsencode(word) for word in (source, target, kind)]
    if call("mount", *words, ctypes.c_ulong(flags), options.encode()) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), target)


def inside(root: str, path: str) -> str:
    """Where `path` is below `root`."""
    return os.path.join(root, path.lstrip("/"))


def read(descriptor: int, size: int) -> bytes:
    """Up to `size` bytes that are there."""
    found = b""
    while len(found) < size and (more := os.read(descriptor, size - len(found))):
        found += more
    return found


def call(name: str, *arguments: Any) -> int:
    """A function of the C library; -1 where it fails, or where this system has none."""
    function = getattr(C, name, None)
    return -1 if function is None else int(function(*arguments))


C = ctypes.CDLL(None, use_errno=True)

if __name__ == "__main__":
    main()
