// Which file systems hold no files worth keeping: those the kernel makes up.
//
// Hazard: reading /proc or /sys never ends, blocks, or acts on the machine. They are known by their type in
// /proc/self/mountinfo (device numbers), and by the magic number of statfs where a mount is not listed there (btrfs
// subvolumes, other namespaces). devtmpfs has tmpfs's magic, so the name comes first.

import { readFileSync } from 'node:fs';
import { answer, libc } from './libc.ts';

const VIRTUAL_TYPES: ReadonlySet<string> = new Set([
  'autofs', 'binfmt_misc', 'bpf', 'cgroup', 'cgroup2', 'configfs', 'debugfs', 'devpts', 'devtmpfs', 'efivarfs',
  'fuse.gvfsd-fuse', 'fuse.portal', 'fusectl', 'hugetlbfs', 'mqueue', 'nfsd', 'nsfs', 'proc', 'pstore', 'resctrl',
  'rpc_pipefs', 'securityfs', 'selinuxfs', 'smackfs', 'sysfs', 'tracefs',
]); // prettier-ignore

/** f_type of statfs, from linux/magic.h. */
const VIRTUAL_MAGICS: ReadonlyMap<number, string> = new Map([
  [0x0187, 'autofs'],
  [0x42494e4d, 'binfmt_misc'],
  [0xcafe4a11, 'bpf'],
  [0x27e0eb, 'cgroup'],
  [0x63677270, 'cgroup2'],
  [0x62656570, 'configfs'],
  [0x64626720, 'debugfs'],
  [0x1cd1, 'devpts'],
  [0xde5e81e4, 'efivarfs'],
  [0x65735543, 'fusectl'],
  [0x958458f6, 'hugetlbfs'],
  [0x19800202, 'mqueue'],
  [0x6e667364, 'nfsd'],
  [0x6e736673, 'nsfs'],
  [0x9fa0, 'proc'],
  [0x6165676c, 'pstore'],
  [0x7655821, 'resctrl'],
  [0x67596969, 'rpc_pipefs'],
  [0x73636673, 'securityfs'],
  [0xf97cff8c, 'selinuxfs'],
  [0x43415d53, 'smackfs'],
  [0x62656572, 'sysfs'],
  [0x74726163, 'tracefs'],
]);

/** What the host has mounted, read at the start of a walk and again when an unknown device turns up. */
export class FileSystems {
  #types = new Map<number, string>();
  readonly #statfs = Buffer.alloc(256);

  constructor() {
    this.#readMounts();
  }

  /** The type's name when the device (as Statx gives it) is known to be a virtual one. Opens nothing: that could set off an automount. */
  virtualType(device: number): string | undefined {
    if (!this.#types.has(device)) this.#readMounts();
    const type = this.#types.get(device);
    return type !== undefined && VIRTUAL_TYPES.has(type) ? type : undefined;
  }

  /** The same by the magic number of an open directory's file system, for devices that no mount is listed for. */
  virtualTypeOf(fd: number): string | undefined {
    if (answer(libc.fstatfs(fd, this.#statfs)) < 0) return undefined;
    return VIRTUAL_MAGICS.get(this.#statfs.readUInt32LE(0));
  }

  #readMounts(): void {
    let text: string;
    try {
      text = readFileSync('/proc/self/mountinfo', 'latin1');
    } catch {
      return; // No /proc here: the magic numbers decide.
    }
    this.#types = parseMounts(text);
  }
}

/** Lines such as '36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw': device number to type. Pure. */
export function parseMounts(text: string): Map<number, string> {
  const types = new Map<number, string>();
  for (const line of text.split('\n')) {
    const device = /^\d+ \d+ (\d+):(\d+) /.exec(line);
    const type = / - (\S+) /.exec(line);
    if (device === null || type === null) continue;
    types.set(Number(device[1]) * 2 ** 32 + Number(device[2]), type[1]!);
  }
  return types;
}
