// Units and timers that start by themselves, cron, and who listens. Enabled units are read as the links that enable them, so
// that a container, or a rescue system, without a running init says the same as the host did.

import { basename, join } from 'node:path';
import type { FactValue } from '@holdfast/shared/blueprint/blueprint';
import { CONFIG_MAX_BYTES, configFiles, socketsOf, type HostFiles } from './host-files.ts';

const UNITS = 'etc/systemd/system';
const UNIT_NAME = /\.(service|timer|socket|mount|path|target|slice|automount|swap)$/;

/** Unit → what wants it, whether it is masked, and the text of units and drop-ins that were written on this host. */
export function units(files: HostFiles): Map<string, FactValue> {
  const found = new Map<string, { wantedBy: string[]; masked: boolean; text: string; dropIns: string[] }>();
  const unit = (name: string) => {
    const known = found.get(name) ?? { wantedBy: [], masked: false, text: '', dropIns: [] };
    found.set(name, known);
    return known;
  };
  for (const name of files.names(UNITS)) {
    const path = join(UNITS, name);
    const wants = /^(.*)\.(wants|requires)$/.exec(name);
    if (wants !== null) {
      for (const wanted of files.names(path)) if (UNIT_NAME.test(wanted)) unit(wanted).wantedBy.push(wants[1]!);
    } else if (name.endsWith('.d')) {
      for (const [file, text] of configFiles(files, path, (part) => part.endsWith('.conf'))) {
        unit(name.slice(0, -2)).dropIns.push(`# ${basename(file)}\n${text}`);
      }
    } else if (UNIT_NAME.test(name)) {
      const link = files.link(path);
      if (link === '/dev/null') unit(name).masked = true;
      else if (link === undefined) unit(name).text = files.text(path, CONFIG_MAX_BYTES) ?? '';
      else unit(name).wantedBy.push(`alias of ${basename(link)}`);
    }
  }
  const facts = new Map<string, FactValue>();
  for (const [name, { wantedBy, masked, text, dropIns }] of found) {
    facts.set(name, { enabled: wantedBy.length > 0, wantedBy: wantedBy.toSorted(), masked, text, dropIns });
  }
  for (const level of ['2', '3', '4', '5']) {
    for (const name of files.names(`etc/rc${level}.d`)) {
      const script = /^S\d\d(.+)$/.exec(name)?.[1];
      if (script !== undefined) facts.set(`init.d/${script}`, { enabled: true });
    }
  }
  return facts;
}

/** Tables of cron by path: their text. Scripts of cron.daily and the like by name only: packages bring them. */
export function cron(files: HostFiles): Map<string, FactValue> {
  const facts = new Map<string, FactValue>();
  const crontab = files.text('etc/crontab', CONFIG_MAX_BYTES);
  if (crontab !== undefined) facts.set('/etc/crontab', crontab);
  for (const directory of ['etc/cron.d', 'var/spool/cron/crontabs', 'var/spool/cron']) {
    for (const [path, text] of configFiles(files, directory, (name) => !name.startsWith('.')))
      facts.set(`/${path}`, text);
  }
  for (const rhythm of ['hourly', 'daily', 'weekly', 'monthly']) {
    for (const name of files.names(`etc/cron.${rhythm}`)) {
      if (!name.startsWith('.')) facts.set(`/etc/cron.${rhythm}/${name}`, true);
    }
  }
  return facts;
}

/** "tcp 0.0.0.0:443" → the program that listens, when it may be known. */
export function listening(files: HostFiles): Map<string, FactValue> {
  const owners = socketOwners(files);
  const facts = new Map<string, FactValue>();
  for (const protocol of ['tcp', 'tcp6', 'udp', 'udp6']) {
    for (const line of (files.text(`proc/net/${protocol}`) ?? '').split('\n').slice(1)) {
      const [, local = '', , state, , , , uid = '', , inode = ''] = line.trim().split(/\s+/);
      const open = protocol.startsWith('tcp') ? state === '0A' : state === '07';
      const address = socketAddress(local);
      // A UDP socket on a high port is somebody's question on its way, not a service.
      const passing = protocol.startsWith('udp') && address !== undefined && address.port >= 32_768;
      if (!open || address === undefined || passing) continue;
      const owner = owners.get(inode);
      facts.set(`${protocol} ${address.host}:${address.port}`, { program: owner ?? '', uid: Number(uid) });
    }
  }
  return facts;
}

/** @param text hexadecimal address and port as the kernel writes them: 32-bit words in the machine's byte order */
function socketAddress(text: string): { host: string; port: number } | undefined {
  const [hex = '', port = ''] = text.split(':');
  if (!/^([0-9A-F]{8}|[0-9A-F]{32})$/i.test(hex)) return undefined;
  const words = hex.match(/.{8}/g)!.map((word) => Buffer.from(word, 'hex').toReversed());
  const bytes = Buffer.concat(words);
  const host =
    bytes.length === 4
      ? bytes.join('.')
      : `[${Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16)).join(':')}]`.replace(
          /(^\[|:)0(:0)+(:|\]$)/,
          (_, open: string, _zeros: string, close: string) =>
            `${open === '[' ? '[:' : ':'}${close === ']' ? ':]' : ':'}`,
        );
  return { host, port: Number.parseInt(port, 16) };
}

/** Socket inode → program name, of the processes that may be looked at. */
function socketOwners(files: HostFiles): Map<string, string> {
  const owners = new Map<string, string>();
  for (const process of files.names('proc')) {
    if (!/^\d+$/.test(process)) continue;
    for (const inode of socketsOf(files, process)) {
      if (owners.has(inode)) continue;
      const program = files.link(`proc/${process}/exe`) ?? files.text(`proc/${process}/comm`)?.trim();
      if (program !== undefined) owners.set(inode, program);
    }
  }
  return owners;
}
