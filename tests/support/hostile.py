"""Programs that try to harm the machine; each passes only where its attack has worked."""

from __future__ import annotations

HOSTILE: dict[str, str] = {
    "endless loop": "while True: pass",
    "endless sleep": "import time\nwhile True: time.sleep(1)",
    "endless arithmetic": "10 ** 10 ** 9",
    "endless regular expression": "import re\nre.match(r'(a+)+$', 'a' * 60 + 'b')",
    "deaf to signals": """
import signal, time
for number in range(1, 65):
    try: signal.signal(number, signal.SIG_IGN)
    except (OSError, ValueError): pass
while True: time.sleep(1)""",
    "fork bomb": "import os\nwhile True: os.fork()",
    "fork bomb that catches errors": """
import os
while True:
    try: os.fork()
    except OSError: pass""",
    "thread bomb": """
import threading, time
while True: threading.Thread(target=time.sleep, args=(60,)).start()""",
    "one large allocation": "x = bytearray(1 << 40)",
    "memory bomb": "x = []\nwhile True: x.append(bytearray(1 << 20))",
    "memory bomb in children": """
import os
for _ in range(3): os.fork()
x = []
while True: x.append(bytearray(1 << 20))""",
    "memory map bomb": """
import mmap
maps = []
while True: maps.append(mmap.mmap(-1, 1 << 24)); maps[-1].write(b'x' * (1 << 24))""",
    "os._exit(0)": "import os\nos._exit(0)",
    "sys.exit(0)": "import sys\nsys.exit(0)",
    "quit in a thread pool": "import atexit, os\natexit.register(os._exit, 0)\nraise SystemExit(0)",
    "kills itself": "import os\nos.kill(os.getpid(), 9)",
    "kills everybody": "import os\nos.kill(-1, 9)\nassert False",
    "kills its group": "import os\nos.killpg(0, 15)\nassert False",
    "kills its parent": """
import os, time
os.kill(os.getppid(), 9)
time.sleep(0.2)
assert os.getppid() == 0""",
    "stops itself": "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)",
    "abort": "import os\nos.abort()",
    "segmentation fault": "import ctypes\nctypes.string_at(8)",
    "endless recursion": "def f(): return f()\nf()",
    "recursion of the C stack": """
import sys
sys.setrecursionlimit(1 << 30)
def f(): return [*map(lambda _: f(), [0])]
f()""",
    "gigabytes of output": "import os\nwhile True: os.write(1, b'x' * (1 << 20))",
    "gigabytes of errors": "import sys\nwhile True: sys.stderr.write('x' * (1 << 20))",
    "gigabytes in one file": "with open('large', 'wb') as file:\n    while True: file.write(bytes(1 << 20))",
    "gigabytes in many files": """
number = 0
while True:
    number += 1
    with open(f'/tmp/{number}', 'wb') as file: file.write(bytes(1 << 19))""",
    "gigabytes of shared memory": """
number = 0
while True:
    number += 1
    with open(f'/dev/shm/{number}', 'wb') as file: file.write(bytes(1 << 19))""",
    "millions of files": "number = 0\nwhile True:\n    number += 1\n    open(str(number), 'w').close()",
    "all descriptors": "import os\nwhile True: os.dup(0)",
    "deletes everything": """
import os, shutil
for entry in os.scandir('/'): shutil.rmtree(entry.path, ignore_errors=True)
assert not os.path.exists('/usr/bin') or not os.path.exists('CANARY')""",
    "writes to the system": "open('/usr/bin/hostile', 'w').write('x')",
    "writes to Python": "import os\nopen(os.__file__, 'a').write('x')",
    "reads our files": "assert open('CANARY').read()",
    "reads passwords": "assert open('/etc/shadow').read() or open('/etc/passwd').read()",
    "reads our environment": "assert open('/proc/1/environ').read() or __import__('os').environ['CANARY']",
    "reads our memory": "open('/proc/1/mem', 'rb').seek(0)",
    "opens the descriptors of its keeper": """
import os
held = [os.open(f'/proc/1/fd/{name}', os.O_RDWR) for name in os.listdir('/proc/1/fd')]
assert held""",
    "traces its keeper": "import ctypes\nassert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0",
    "sees other processes": "import os\nassert len([name for name in os.listdir('/proc') if name.isdigit()]) > 2",
    "connects to this machine": "import socket\nsocket.create_connection(('127.0.0.1', PORT), 2)",
    "connects to the world": "import socket\nsocket.create_connection(('1.1.1.1', 53), 2)",
    "asks for names": "import socket\nsocket.getaddrinfo('example.com', 80)",
    "becomes root": "import os\nos.setuid(0)\nassert False",
    "becomes root by a program": "import subprocess\nassert subprocess.run(['su', '-c', 'true']).returncode == 0",
    "mounts": "import ctypes\nassert ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, b'') == 0",
    "makes user namespaces": "import ctypes\nassert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "leaves its root": "import os\nos.chroot('/tmp')",
    "makes a device": "import os\nos.mknod('disk', 0o60666, os.makedev(254, 0))",
    "turns the machine off": "import ctypes\nassert ctypes.CDLL(None).reboot(0x4321FEDC) == 0",
    "sets the clock": "import time\ntime.clock_settime(time.CLOCK_REALTIME, 0)",
    "changes the kernel": "open('/proc/sys/kernel/hostname', 'w').write('x')",
    "raises its limits": """
import resource
resource.setrlimit(resource.RLIMIT_NPROC, (1 << 16, 1 << 16))""",
    "raises its priority": "import os\nos.nice(-10)",
    "says that it has passed": "import os\nos.write(3, b'0' * 32)\nos._exit(0)",
    "says so in a word": "print('passed')\nraise SystemExit",
    "leaves a process behind": """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0: time.sleep(300)
    os._exit(0)
assert False""",
    "closes all and stays": "import os, time\nos.closerange(0, 64)\ntime.sleep(300)",
    "nests a billion parentheses": "(" * 100000,
    "holds no text": "x = '\\ud800'\nprint(x)",
    "is no Python": "def f(:",
}
