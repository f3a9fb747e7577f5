// The cable: a bridge in a network namespace of its own, with a port for each host.
//
// Hazard: a lab that touches the machine's own network, or that a host under test could undo with its own firewall. So links are cut
// and lossy in the cable, where no host reaches; and the machine's own namespace sees nothing of it.
//
//   host web-1: eth0 ── web-1 ┐
//   host web-2: eth0 ── web-2 ┤ bridge `lan` (namespace holdfast-ID-wire, address of the operator)
//   …                         ┘
//
// A delayed host has a bridge of its own and a relay between the two (delay.ts): its port on `lan` is then called web-1-d.
// Tested in lab.test.ts.

import { existsSync } from 'node:fs';
import { ok, run } from './command.ts';
import { WIRE, type LabLayout } from './layout.ts';
import { hardwareAddress, MACHINES, OPERATOR_ADDRESS, type Machine } from './machines.ts';

const LAN = 'lan';
const TABLE = 'bridge lab';

export async function makeWire(layout: LabLayout): Promise<void> {
  const name = layout.namespace(WIRE);
  if (existsSync(layout.namespaceFile(WIRE))) return;
  await ok('ip', ['netns', 'add', name]);
  await quieten(name);
  const lines = [
    `link add ${LAN} type bridge`,
    `addr add ${OPERATOR_ADDRESS}/24 dev ${LAN}`,
    `link set ${LAN} up`,
    'link set lo up',
  ];
  await ok('ip', ['-n', name, '-batch', '-'], `${lines.join('\n')}\n`);
  await filter(
    layout,
    `add table ${TABLE}
add set ${TABLE} cut { type ifname . ifname; }
add chain ${TABLE} forward { type filter hook forward priority 0; }
add rule ${TABLE} forward iifname . oifname @cut drop`,
  );
}

/** A fresh network namespace for a host, plugged in: nothing of an earlier life is in it. */
export async function plugIn(layout: LabLayout, host: Machine): Promise<void> {
  await unplug(layout, host.name);
  const name = layout.namespace(host.name);
  await ok('ip', ['netns', 'add', name]);
  await quieten(name);
  const wire = layout.namespace(WIRE);
  const far = `peer name eth0 address ${hardwareAddress(host)} netns ${name}`;
  await ok('ip', ['-n', wire, 'link', 'add', host.name, 'type', 'veth', ...far.split(' ')]);
  const inside = [`addr add ${host.address}/24 dev eth0`, 'link set lo up', 'link set eth0 up'];
  await ok('ip', ['-n', name, '-batch', '-'], `${inside.join('\n')}\n`);
  await ok('ip', ['-n', wire, 'link', 'set', host.name, 'master', LAN, 'up']);
}

/** The plug is pulled before the host dies: what its dying processes say about their connections is never heard. */
export async function pullPlug(layout: LabLayout, host: string): Promise<void> {
  await run('ip', ['-n', layout.namespace(WIRE), 'link', 'del', host]);
}

async function unplug(layout: LabLayout, host: string): Promise<void> {
  await pullPlug(layout, host);
  if (!existsSync(layout.namespaceFile(host))) return;
  // Of a boot whose maker was killed before it could note it.
  await endAll(layout.namespace(host));
  await ok('ip', ['netns', 'del', layout.namespace(host)]);
}

export type Direction = readonly [from: string, to: string];

/** Nothing of `from` reaches `to` any more. */
export async function cutOff(layout: LabLayout, directions: readonly Direction[]): Promise<void> {
  await filter(layout, `add element ${TABLE} cut ${elements(directions)}`);
}

export async function healed(layout: LabLayout, directions: readonly Direction[]): Promise<void> {
  // What is not there can't be deleted, and a transaction can add it first.
  const set = elements(directions);
  await filter(layout, `add element ${TABLE} cut ${set}\ndelete element ${TABLE} cut ${set}`);
}

/** Of what the host sends and of what it is sent, this share is lost. */
export async function lose(layout: LabLayout, host: string, percent: number): Promise<void> {
  const table = `bridge loss-${host}`;
  const chain = `add chain ${table} forward { type filter hook forward priority 1; }`;
  const share = `numgen random mod 1000 < ${Math.round(percent * 10)} drop`;
  // The host's own port is passed once, delayed or not.
  const rules = ['iifname', 'oifname'].map((side) => `add rule ${table} forward ${side} "${host}" ${share}`);
  const cleared = `add table ${table}\ndelete table ${table}`;
  await filter(layout, percent === 0 ? cleared : [cleared, `add table ${table}`, chain, ...rules].join('\n'));
}

/** Moves a host's port behind a bridge of its own, with a TAP device on either side for a relay to hold; false: back to `lan`. */
export async function detour(layout: LabLayout, host: string, wanted: boolean): Promise<void> {
  const wire = layout.namespace(WIRE);
  const [own, near, far] = [`${host}-b`, `${host}-n`, `${host}-d`];
  for (const device of [near, far, own]) await run('ip', ['-n', wire, 'link', 'del', device]);
  if (!wanted) return void (await run('ip', ['-n', wire, 'link', 'set', host, 'master', LAN]));
  const lines = [
    `link add ${own} type bridge`,
    `link set ${own} up`,
    `tuntap add dev ${near} mode tap`,
    `tuntap add dev ${far} mode tap`,
    `link set ${near} master ${own} up`,
    `link set ${far} master ${LAN} up`,
    `link set ${host} master ${own}`,
  ];
  await ok('ip', ['-n', wire, '-batch', '-'], `${lines.join('\n')}\n`);
}

/** Ends everything that runs in the lab's network namespaces, and removes them. */
export async function removeNamespaces(layout: LabLayout): Promise<string[]> {
  const removed: string[] = [];
  for (const name of [...MACHINES.map((host) => host.name), WIRE]) {
    if (!existsSync(layout.namespaceFile(name))) continue;
    const namespace = layout.namespace(name);
    await endAll(namespace);
    await ok('ip', ['netns', 'del', namespace]);
    removed.push(name);
  }
  return removed;
}

const END_MS = 20_000;

/** Every process in the namespace, those that come meanwhile as well. */
async function endAll(namespace: string): Promise<void> {
  const until = performance.now() + END_MS;
  for (;;) {
    const pids = (await ok('ip', ['netns', 'pids', namespace])).split('\n').filter((line) => line !== '');
    if (pids.length === 0) return;
    if (performance.now() > until) throw new Error(`processes ${pids.join(', ')} in ${namespace} do not end`);
    for (const pid of pids) {
      try {
        process.kill(Number(pid), 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

async function filter(layout: LabLayout, commands: string): Promise<void> {
  await ok('ip', ['netns', 'exec', layout.namespace(WIRE), 'nft', '-f', '-'], `${commands}\n`);
}

/** Both ports that a host may have. */
function elements(directions: readonly Direction[]): string {
  const ports = (host: string): string[] => [host, `${host}-d`];
  const pairs = directions.flatMap(([from, to]) =>
    ports(from).flatMap((left) => ports(to).map((right) => `"${left}" . "${right}"`)),
  );
  return `{ ${pairs.join(', ')} }`;
}

/** No address but ours, and nobody asks for routers. */
async function quieten(namespace: string): Promise<void> {
  const settings = ['all', 'default'].map((name) => `net.ipv6.conf.${name}.disable_ipv6=1`);
  await run('ip', ['netns', 'exec', namespace, 'sysctl', '-qw', ...settings]);
}
