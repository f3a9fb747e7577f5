// What process 1 of a host runs: makes the host's own view of the file system, starts the units of its boot list, and reaps what is orphaned.
//
// Every host shares the machine's programs, and has its own:
//
//   overlays, so that what is written stays the host's own:  /etc /usr /var
//   directories of its disk:      /srv /opt /root /home /tmp /var/log /var/lib/postgresql /var/lib/holdfast
//   in memory, gone at a reboot:  /run /dev/shm
//
// The mounts live and die with the host's mount namespace: nothing has to be unmounted.

import { quoted } from '../fleet/shell.ts';

export const OVERLAYS = ['/etc', '/usr', '/var'];
export const DIRECTORIES = [
  '/srv',
  '/opt',
  '/root',
  '/home',
  '/tmp',
  '/var/log',
  '/var/lib/postgresql',
  '/var/lib/holdfast',
];
/** Exists once every unit of the boot list was started. */
export const BOOTED_FILE = '/run/lab/booted';

/** Of what is at `path` on a host, the directory of its disk: "/var/lib/holdfast" → "var-lib-holdfast". */
export function diskName(path: string): string {
  return path.slice(1).replaceAll('/', '-');
}

/** @param disk absolute; outside of the overlays. @param project the checkout, which every host sees at its own path */
export function initScript(host: string, disk: string, project: string, boot: readonly string[]): string {
  return `#!/bin/bash
set -e
cd /
hostname ${host}
umount -lR /run/netns 2>/dev/null || true
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lab/disk /run/lab/project /run/lock /run/postgresql /run/named
mount --bind ${quoted(disk)} /run/lab/disk
mount --bind ${quoted(project)} /run/lab/project
for name in ${OVERLAYS.map(diskName).join(' ')}; do
  mount -t overlay -o lowerdir=/$name,upperdir=/run/lab/disk/$name/upper,workdir=/run/lab/disk/$name/work overlay /$name
done
${DIRECTORIES.map((path) => `mkdir -p ${path}; mount --bind /run/lab/disk/${diskName(path)} ${path}`).join('\n')}
mkdir -p ${quoted(project)}
mount --bind /run/lab/project ${quoted(project)}
mount -t proc -o nosuid,nodev,noexec proc /proc
mount -t sysfs -o nosuid,nodev,noexec sysfs /sys
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
mkdir -p /var/log/nginx /var/log/postgresql /var/lib/postgresql/15
chown postgres: /run/postgresql /var/log/postgresql /var/lib/postgresql /var/lib/postgresql/15
chown bind: /run/named
echo "$(date -u +%FT%T.%3NZ) ${host} boots"
set +e
# Otherwise a boot would give the numbers of the last one again, and what a lock file names would seem to run.
echo $((RANDOM % 30000 + 300)) 2>/dev/null >/proc/sys/kernel/ns_last_pid
for unit in ${boot.join(' ')}; do
  /etc/lab/units/$unit start || echo "$unit did not start"
done
: >${BOOTED_FILE}
while :; do
  sleep 86400 &
  wait $!
done
`;
}
