// Packages and where they come from: Debian's status file read as it is (dpkg and apt need not run), rpm and apk by their own
// databases' programs and files.

import { join } from 'node:path';
import { createHash } from 'node:crypto';
import type { FactValue } from '@holdfast/shared/blueprint/blueprint';
import { configFiles, type HostFiles } from './host-files.ts';
import type { RunTool } from './run-tool.ts';

/** name:architecture → version, whether it is held, and whether it came only because another needs it. */
export async function packages(files: HostFiles, run: RunTool): Promise<Map<string, FactValue>> {
  const status = files.text('var/lib/dpkg/status');
  if (status !== undefined) return debianPackages(status, files.text('var/lib/apt/extended_states') ?? '');
  const apk = files.text('lib/apk/db/installed');
  if (apk !== undefined) return alpinePackages(apk);
  const listed = await run(['rpm', '-qa', '--qf', '%{NAME}\\t%{ARCH}\\t%{EPOCHNUM}:%{VERSION}-%{RELEASE}\\n']);
  const facts = new Map<string, FactValue>();
  for (const line of (listed ?? '').split('\n')) {
    const [name, architecture, version] = line.split('\t');
    if (name === undefined || architecture === undefined || version === undefined) continue;
    facts.set(`${name}:${architecture}`, { version, held: false, automatic: false });
  }
  return facts;
}

function debianPackages(status: string, extended: string): Map<string, FactValue> {
  const automatic = new Set<string>();
  for (const stanza of stanzas(extended)) {
    if (stanza.get('Auto-Installed') === '1') automatic.add(`${stanza.get('Package')}:${stanza.get('Architecture')}`);
  }
  const native =
    stanzas(status)
      .find((stanza) => stanza.get('Package') === 'dpkg')
      ?.get('Architecture') ?? '';
  const facts = new Map<string, FactValue>();
  for (const stanza of stanzas(status)) {
    const [want = '', , state = ''] = (stanza.get('Status') ?? '').split(' ');
    const name = stanza.get('Package');
    const version = stanza.get('Version');
    if (name === undefined || version === undefined || state === 'not-installed' || state === 'config-files') continue;
    const architecture = stanza.get('Architecture') ?? '';
    // Apt notes a package for all architectures under the native one.
    const noted = architecture === 'all' ? native : architecture;
    facts.set(`${name}:${architecture}`, {
      version,
      held: want === 'hold',
      automatic: automatic.has(`${name}:${noted}`),
      ...(state === 'installed' ? {} : { state }),
    });
  }
  return facts;
}

/** Paragraphs of `Field: value`; continued lines are dropped. */
function stanzas(text: string): Map<string, string>[] {
  return text.split(/\n\n+/).map((paragraph) => {
    const found = new Map<string, string>();
    for (const line of paragraph.split('\n')) {
      const colon = line.indexOf(': ');
      if (colon > 0 && line[0] !== ' ') found.set(line.slice(0, colon), line.slice(colon + 2));
    }
    return found;
  });
}

function alpinePackages(text: string): Map<string, FactValue> {
  const facts = new Map<string, FactValue>();
  for (const paragraph of text.split(/\n\n+/)) {
    const field = (letter: string) => new RegExp(`^${letter}:(.*)$`, 'm').exec(paragraph)?.[1];
    const name = field('P');
    if (name === undefined) continue;
    facts.set(`${name}:${field('A') ?? ''}`, { version: field('V') ?? '', held: false, automatic: false });
  }
  return facts;
}

/** Files that say where packages come from, by path: text, or a fingerprint of a key. */
export function repositories(files: HostFiles): Map<string, FactValue> {
  const facts = new Map<string, FactValue>();
  const isList = (name: string): boolean => /\.(list|sources|repo|conf)$/.test(name) || name === 'repositories';
  for (const directory of ['etc/apt', 'etc/apt/sources.list.d', 'etc/yum.repos.d', 'etc/apk']) {
    for (const [path, text] of configFiles(files, directory, isList)) facts.set(`/${path}`, withoutPasswords(text));
  }
  for (const directory of ['etc/apt/preferences.d', 'etc/apt/apt.conf.d']) {
    for (const [path, text] of configFiles(files, directory, () => true)) facts.set(`/${path}`, withoutPasswords(text));
  }
  for (const directory of ['etc/apt/keyrings', 'etc/apt/trusted.gpg.d', 'usr/share/keyrings']) {
    for (const name of files.names(directory)) {
      const text = files.text(join(directory, name));
      if (text === undefined) continue;
      facts.set(`/${join(directory, name)}`, { sha256: createHash('sha256').update(text).digest('hex') });
    }
  }
  return facts;
}

/** `https://user:password@host` is how private repositories are often written. */
function withoutPasswords(text: string): string {
  return text.replace(/(\w+:\/\/[^/\s:@]+):[^@\s/]+@/g, '$1:…@');
}
