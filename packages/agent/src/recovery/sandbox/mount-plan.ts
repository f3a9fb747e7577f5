// What of this host's file systems a sandbox sees, and how. Pure: the kernel's list of mounts comes in as text.
//
// Hazard: a write that goes through to the host. So nothing of the host's is mounted as it is: a directory is the lower side of an overlay,
// whose writes go to the sandbox's own; a file is bound read-only; and what can reach beyond files is not there at all: devices, the kernel's
// own trees, and /run with the sockets of the host's services. (A socket seen through an overlay is not the host's: connecting is refused.)
//
// Invariants (mount-plan.property.test.ts): MP1 every mount that can be seen and is not replaced has one entry, parents first; MP2 nothing
// below a replaced place is taken; MP3 what a later mount hides is not taken.

/** Made anew inside. */
const REPLACED = ['/proc', '/sys', '/dev', '/run'];
/** The kernel's own: none of them holds anybody's files. */
const KERNEL_TYPES = new Set([
  'autofs',
  'binfmt_misc',
  'bpf',
  'cgroup',
  'cgroup2',
  'configfs',
  'debugfs',
  'devpts',
  'devtmpfs',
  'efivarfs',
  'fusectl',
  'hugetlbfs',
  'mqueue',
  'nsfs',
  'proc',
  'pstore',
  'rpc_pipefs',
  'securityfs',
  'selinuxfs',
  'sysfs',
  'tracefs',
]);

export interface SeenMount {
  readonly path: string;
  readonly type: string;
}

/** Of /proc/self/mountinfo, in the order in which they were mounted; the names in it are escaped in octal. */
export function mountsOf(mountinfo: string): SeenMount[] {
  return mountinfo
    .split('\n')
    .map((line) => line.split(' '))
    .flatMap((fields) => {
      const path = fields[4];
      const type = fields[fields.indexOf('-') + 1];
      return path === undefined || type === undefined ? [] : [{ path: unescape(path), type }];
    });
}

/**
 * Places to be overlaid, `/` first and parents before children.
 * @param own directories that must not be seen inside: the agent's
 */
export function placesToLayer(mounts: readonly SeenMount[], own: readonly string[]): string[] {
  const left = [...REPLACED, ...own];
  const seen = mounts.filter((mount, index) => !mounts.slice(index + 1).some(({ path }) => isWithin(mount.path, path)));
  const taken = seen.filter(
    ({ path, type }) => path !== '/' && !KERNEL_TYPES.has(type) && !left.some((place) => isWithin(path, place)),
  );
  return ['/', ...taken.map(({ path }) => path).toSorted((a, b) => (a < b ? -1 : 1))];
}

/** Whether `path` is `place` or beneath it. */
export function isWithin(path: string, place: string): boolean {
  return path === place || place === '/' || path.startsWith(`${place}/`);
}

function unescape(text: string): string {
  return text.replaceAll(/\\([0-7]{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}
