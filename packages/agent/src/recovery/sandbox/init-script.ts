// What process 1 of a sandbox runs: makes its view of the file system and its network, says so, and collects what is orphaned. Pure.
//
// It is the system's shell with util-linux and iproute2, in namespaces that are made already. Anything that fails ends it, and with it all that
// it had made; what it said is the reason why there is no drill. The names in it are quoted: they come from this host's own list of mounts.

import type { SandboxOrder } from './sandbox.ts';

/** A directory of the sandbox's /run with its owner, so that services find what the host's boot made for theirs. */
export interface RunDirectory {
  readonly path: string;
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

export interface SandboxPlan {
  /** Below the agent's directory: layers, root, data. */
  readonly directory: string;
  readonly places: readonly { readonly path: string; readonly directory: boolean }[];
  /** Hidden under an empty file system. */
  readonly own: readonly string[];
  readonly run: readonly RunDirectory[];
  readonly addresses: SandboxOrder['addresses'];
}

/** Followed by the process number of init, as the agent sees it. */
export const READY = 'holdfast sandbox ready';
/** Inside: where the directories that `place` puts somewhere come from. */
export const DATA_INSIDE = '/run/holdfast-drill';
const DEVICES = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];
const TMPFS_BYTES = '256m';

export function initScript({ directory, places, own, run, addresses }: SandboxPlan): string {
  const root = `${directory}/root`;
  const layers = `${directory}/layers`;
  return `set -e
exec 2>&1
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
read -r self rest </proc/self/stat
layer() {
  mkdir -p ${quote(layers)}/"$2"/upper ${quote(layers)}/"$2"/work
  mount -t overlay -o "lowerdir=$1,upperdir="${quote(escapeOption(layers))}"/$2/upper,workdir="${quote(escapeOption(layers))}"/$2/work" overlay "$3"
}
readonly_bind() {
  mount --bind "$1" "$2"
  mount -o remount,bind,ro "$2"
}
# Where the agent's directory is itself on an overlay, that can't be the upper side of another: memory is.
layer / 0 ${quote(root)} 2>/dev/null || {
  mount -t tmpfs -o mode=0700 tmpfs ${quote(layers)}
  layer / 0 ${quote(root)}
}
${places
  .filter(({ path }) => path !== '/')
  .map((place, index) => placeLine(place, index + 1, root))
  .join('\n')}
mount -t tmpfs -o mode=0755,size=${TMPFS_BYTES} tmpfs ${quote(root)}/run
${run.map((one) => runLine(one, root)).join('\n')}
mkdir -m 0700 -p ${quote(`${root}${DATA_INSIDE}`)}
mount --bind ${quote(`${directory}/data`)} ${quote(`${root}${DATA_INSIDE}`)}
${own.map((path) => `mount -t tmpfs -o mode=0700,size=64k,ro tmpfs ${quote(`${root}${path}`)}`).join('\n')}
${deviceLines(root)}
mount -t proc -o nosuid,nodev,noexec proc ${quote(root)}/proc
readonly_bind ${quote(root)}/proc/sys ${quote(root)}/proc/sys
[ ! -e ${quote(root)}/proc/sysrq-trigger ] || mount --bind /dev/null ${quote(root)}/proc/sysrq-trigger
mount -t sysfs -o nosuid,nodev,noexec,ro sysfs ${quote(root)}/sys
ip link set lo up
${addresses.map(addressLine).join('\n')}
mkdir -p ${quote(root)}/.holdfast-old
cd ${quote(root)}
pivot_root . .holdfast-old
exec chroot . /bin/sh -c '
  set -e
  cd /
  umount -l /.holdfast-old
  rmdir /.holdfast-old
  trap "" TERM INT HUP QUIT
  echo "${READY} $0"
  exec </dev/null >/dev/null 2>&1
  set +e
  while :; do sleep 86400 & wait $!; done
' "$self"
`;
}

function placeLine({ path, directory }: SandboxPlan['places'][number], number: number, root: string): string {
  const there = quote(`${root}${path}`);
  if (!directory) return `readonly_bind ${quote(path)} ${there}`;
  // A file system that can't be the lower side of an overlay is there to be read.
  return `layer ${quote(escapeOption(path))} ${number} ${there} 2>/dev/null || readonly_bind ${quote(path)} ${there}`;
}

function runLine({ path, uid, gid, mode }: RunDirectory, root: string): string {
  const there = quote(`${root}${path}`);
  return `mkdir -p ${there}; chown ${uid}:${gid} ${there}; chmod ${mode.toString(8)} ${there}`;
}

function deviceLines(root: string): string {
  const dev = quote(`${root}/dev`);
  return [
    `mount -t tmpfs -o mode=0755,size=1m tmpfs ${dev}`,
    ...DEVICES.map((name) => `: >${dev}/${name}; mount --bind /dev/${name} ${dev}/${name}`),
    `mkdir ${dev}/pts ${dev}/shm`,
    `mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts ${dev}/pts`,
    `mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs ${dev}/shm`,
    `ln -s pts/ptmx ${dev}/ptmx`,
    `ln -s /proc/self/fd ${dev}/fd; ln -s fd/0 ${dev}/stdin; ln -s fd/1 ${dev}/stdout; ln -s fd/2 ${dev}/stderr`,
  ].join('\n');
}

/** With the prefix alone that is the address itself: a network on loopback would make its other hosts seem to be here. */
function addressLine(address: string): string {
  const [ip = ''] = address.split('/');
  return ip.includes(':') ? `ip addr replace ${quote(ip)}/128 dev lo nodad` : `ip addr replace ${quote(ip)}/32 dev lo`;
}

/** As one word of a shell. */
export function quote(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

/** What separates an overlay's options, and its directories, stands for itself. */
function escapeOption(path: string): string {
  return path.replaceAll(/[\\,:]/g, (sign) => `\\${sign}`);
}
