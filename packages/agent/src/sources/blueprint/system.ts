// The system itself: distribution, kernel, clock and language; mounts, network, firewall, kernel settings.

import { arch, release } from 'node:os';
import type { FactValue } from '@holdfast/shared/blueprint/blueprint';
import { CONFIG_MAX_BYTES, configFiles, type HostFiles } from './host-files.ts';
import type { RunTool } from './run-tool.ts';

export function system(files: HostFiles): Map<string, FactValue> {
  const facts = new Map<string, FactValue>();
  const note = (key: string, value: FactValue | undefined): void => {
    if (value !== undefined && value !== '') facts.set(key, value);
  };
  for (const line of (files.text('etc/os-release') ?? files.text('usr/lib/os-release') ?? '').split('\n')) {
    const [, name, value] = /^(ID|VERSION_ID|VERSION_CODENAME|PRETTY_NAME)=(.*)$/.exec(line) ?? [];
    if (name !== undefined) note(`os.${name.toLowerCase()}`, value!.replace(/^["']|["']$/g, ''));
  }
  note('os.debian_version', files.text('etc/debian_version', CONFIG_MAX_BYTES)?.trim());
  note('kernel', release());
  note('architecture', arch());
  note('hostname', files.text('etc/hostname', CONFIG_MAX_BYTES)?.trim());
  note('timezone', files.text('etc/timezone', CONFIG_MAX_BYTES)?.trim() ?? zoneOf(files.link('etc/localtime')));
  const locale = files.text('etc/default/locale', CONFIG_MAX_BYTES) ?? files.text('etc/locale.conf');
  // Tools write a line about themselves above what is set.
  note('locale', locale?.replace(/^\s*#.*\n?/gm, '').trim());
  const cpu = (files.text('proc/cpuinfo') ?? '').match(/^processor\s*:/gm)?.length;
  note('processors', cpu);
  const memory = /^MemTotal:\s+(\d+) kB/m.exec(files.text('proc/meminfo') ?? '')?.[1];
  // Rounded: the kernel keeps a little more or less for itself with each version.
  if (memory !== undefined) note('memory', `${Math.round(Number(memory) / 1024 / 256) / 4} GiB`);
  return facts;
}

function zoneOf(link: string | undefined): string | undefined {
  return link?.split('/zoneinfo/')[1];
}

const NO_DISKS = new Set(
  'proc sysfs devtmpfs devpts tmpfs cgroup cgroup2 mqueue hugetlbfs debugfs tracefs securityfs pstore bpf configfs fusectl autofs binfmt_misc efivarfs rpc_pipefs nsfs ramfs overlay squashfs'.split(
    ' ',
  ),
);

/** /etc/fstab line by line, and what is mounted from a disk or the network. */
export function mounts(files: HostFiles): Map<string, FactValue> {
  const facts = new Map<string, FactValue>();
  for (const line of (files.text('etc/fstab', CONFIG_MAX_BYTES) ?? '').split('\n')) {
    const [device, point, type = '', options = ''] = line.trim().split(/\s+/);
    if (device === undefined || point === undefined || device.startsWith('#')) continue;
    facts.set(`fstab ${point === 'none' ? device : point}`, { device, type, options: withoutCredentials(options) });
  }
  for (const line of (files.text('proc/self/mountinfo') ?? '').split('\n')) {
    const [before = '', after = ''] = line.split(' - ');
    const [, , , root = '', point = '', options = ''] = before.split(' ');
    const [type = '', device = ''] = after.split(' ');
    if (type === '' || NO_DISKS.has(type)) continue;
    facts.set(`mounted ${unescaped(point)}`, { device: unescaped(device), type, root: unescaped(root), options });
  }
  return facts;
}

function unescaped(text: string): string {
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

function withoutCredentials(options: string): string {
  return options.replace(/\b(password|pass|passwd)=[^,]*/gi, '$1=…');
}

/** Files that set the network up, and the addresses and routes that it has. */
export async function network(files: HostFiles, run: RunTool): Promise<Map<string, FactValue>> {
  const facts = new Map<string, FactValue>();
  for (const path of ['etc/hosts', 'etc/resolv.conf', 'etc/network/interfaces', 'etc/nsswitch.conf']) {
    const text = files.text(path, CONFIG_MAX_BYTES);
    if (text !== undefined) facts.set(`/${path}`, text);
  }
  const isConfig = (name: string): boolean => !name.startsWith('.') && !name.endsWith('.nmconnection');
  for (const directory of ['etc/network/interfaces.d', 'etc/netplan', 'etc/systemd/network']) {
    for (const [path, text] of configFiles(files, directory, isConfig)) facts.set(`/${path}`, withoutKeys(text));
  }
  for (const line of ((await run(['ip', '-o', 'addr', 'show'])) ?? '').split('\n')) {
    const [, , device, , address] = /^(\d+): (\S+)\s+(inet6?) (\S+)/.exec(line) ?? [];
    if (device !== undefined && device !== 'lo') facts.set(`address ${address}`, { device });
  }
  for (const family of ['-4', '-6']) {
    for (const line of ((await run(['ip', family, 'route', 'show'])) ?? '').split('\n')) {
      const route = line.replace(/ (proto kernel|linkdown|expires \d+sec|pref medium)/g, '').trim();
      if (route !== '' && !route.startsWith('fe80::')) facts.set(`route ${route.split(' ')[0]}`, route);
    }
  }
  return facts;
}

function withoutKeys(text: string): string {
  return text.replace(/^(\s*(?:PrivateKey|PresharedKey|password|key)\s*[=:]\s*).+$/gim, '$1…');
}

/** The gates of applications come and go with their leases (recovery/failover/kernel-gate.ts): they are no setting of the host. */
function withoutOwnTables(rules: string): string {
  return rules.replaceAll(/^table \w+ holdfast_\w+ \{\n[\s\S]*?^\}\n?/gm, '');
}

/** Rules as they are in force, and the files that set them. Counters are taken out: they are no setting. */
export async function firewall(files: HostFiles, run: RunTool): Promise<Map<string, FactValue>> {
  const facts = new Map<string, FactValue>();
  const rules = withoutOwnTables((await run(['nft', '--stateless', 'list', 'ruleset'])) ?? '');
  if (rules.trim() !== '') facts.set('nft', rules);
  for (const program of ['iptables-save', 'ip6tables-save']) {
    const saved = await run([program]);
    const lines = (saved ?? '').split('\n').filter((line) => line !== '' && !line.startsWith('#'));
    if (lines.some((line) => line.startsWith('-A'))) {
      facts.set(program, lines.map((line) => line.replace(/ \[\d+:\d+\]$/, '')).join('\n'));
    }
  }
  for (const path of ['etc/nftables.conf', 'etc/iptables/rules.v4', 'etc/iptables/rules.v6', 'etc/ufw/user.rules']) {
    const text = files.text(path, CONFIG_MAX_BYTES);
    if (text !== undefined) facts.set(`/${path}`, text);
  }
  return facts;
}

/** Files that set kernel settings, and what those they name are now. */
export function sysctl(files: HostFiles): Map<string, FactValue> {
  const facts = new Map<string, FactValue>();
  const texts = configFiles(files, 'etc/sysctl.d', (name) => name.endsWith('.conf'));
  const own = files.text('etc/sysctl.conf', CONFIG_MAX_BYTES);
  if (own !== undefined) texts.set('etc/sysctl.conf', own);
  for (const [path, text] of texts) {
    facts.set(`/${path}`, text);
    for (const line of text.split('\n')) {
      const name = /^\s*-?\s*([\w./-]+)\s*=/.exec(line)?.[1];
      if (name === undefined || name.includes('..')) continue;
      const value = files.text(`proc/sys/${name.includes('/') ? name : name.replaceAll('.', '/')}`, CONFIG_MAX_BYTES);
      if (value !== undefined) facts.set(name, value.trim().replace(/\s+/g, ' '));
    }
  }
  return facts;
}
