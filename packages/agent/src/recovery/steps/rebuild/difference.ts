// What a host lacks of another one's blueprint, and what would mend it. It only ever adds: nothing is removed, upgraded or overwritten.
//
// Hazard: a host that is made over into another one. So what identifies it (name, network, machine id, the agent) is in no part of this, an id
// that belongs to somebody else here is refused, and a file that is here already stays as it is and is named.
//
// Pure. Tested in rebuild.test.ts.

import type { FactValue } from '@holdfast/shared/blueprint/blueprint';
import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';

export type Section = Readonly<Record<string, FactValue>>;
/** By name; one that is absent holds nothing. */
export type Sections = Readonly<Partial<Record<string, Section>>>;
export type RebuildStep = Extract<HostStepSpec, { type: 'rebuild' }>;

export interface MissingPackage {
  readonly name: string;
  readonly version: string;
  readonly held: boolean;
}

export interface MissingFile {
  /** Absolute. */
  readonly path: string;
  readonly text: string;
}

export interface Difference {
  readonly packages: readonly MissingPackage[];
  /** Programs with their arguments, in order: groups before users. */
  readonly accounts: readonly (readonly string[])[];
  readonly files: readonly MissingFile[];
  /** To be enabled, never started. */
  readonly units: readonly string[];
  /** Why it can't be done at all. */
  readonly refusals: readonly string[];
  /** What is left as it is. */
  readonly notes: readonly string[];
}

/** Below this, accounts belong to packages, whose ids differ from host to host. */
const FIRST_PERSON = 1000;
const NOBODY = 65_534;
const MAX_NOTES = 20;
/** Names that the programs take as names, and as nothing else. */
const ACCOUNT = /^[a-z_][a-z0-9_.-]{0,31}\$?$/i;
const PACKAGE = /^[a-z0-9][a-z0-9+.-]*(:[a-z0-9-]+)?$/;
const VERSION = /^[A-Za-z0-9.+:~-]+$/;
const UNIT = /^[A-Za-z0-9_][A-Za-z0-9:_.@\\-]*\.(service|timer|socket|path|mount|target)$/;

/** @param there the primary's sections  @param here this host's */
export function differenceOf(
  step: RebuildStep,
  there: Sections,
  here: Sections,
  protectedUnits: readonly string[],
): Difference {
  const found = { packages: [], accounts: [], files: [], units: [], refusals: [], notes: [] } as Mutable;
  for (const key of ['os.id', 'os.version_id', 'architecture']) {
    const [wanted, own] = [there['system']?.[key], here['system']?.[key]];
    if (step.packages && wanted !== undefined && wanted !== own)
      found.refusals.push(`its ${key} is ${text(own)}, and the primary’s ${text(wanted)}: packages don’t fit`);
  }
  if (step.packages) comparePackages(found, there['packages'] ?? {}, here['packages'] ?? {});
  if (step.users) compareAccounts(found, there, here);
  if (step.cron) compareFiles(found, there['cron'] ?? {}, here['cron'] ?? {}, '/etc/cron.d/');
  if (step.sysctl) compareFiles(found, there['sysctl'] ?? {}, here['sysctl'] ?? {}, '/etc/sysctl.d/');
  if (step.units) compareUnits(found, there['units'] ?? {}, here['units'] ?? {}, protectedUnits);
  if (step.firewall) compareFirewall(found, there['firewall'] ?? {}, here['firewall'] ?? {});
  return { ...found, notes: found.notes.slice(0, MAX_NOTES) };
}

export function isEmpty({ packages, accounts, files, units }: Difference): boolean {
  return packages.length + accounts.length + files.length + units.length === 0;
}

type Mutable = { -readonly [Part in keyof Difference]: Difference[Part][number][] };

function comparePackages(found: Mutable, there: Section, here: Section): void {
  const halfway = new Set(Object.keys(here).filter((key) => isHalfway(here[key])));
  // Apt ends what was begun there, whatever it installs.
  for (const key of halfway) found.notes.push(`${key} is ${text(part(here[key], 'state'))} here: dpkg --configure -a`);
  const whole = Object.keys(here).filter((key) => !halfway.has(key));
  const own = new Set(whole.map((key) => key.split(':')[0]));
  for (const [key, fact] of Object.entries(there)) {
    // What others need comes with them; another state than installed is no wish.
    if (part(fact, 'automatic') === true || part(fact, 'state') !== undefined) continue;
    const name = key.replace(/:all$/, '');
    if (own.has(key.split(':')[0])) continue;
    const version = text(part(fact, 'version'));
    if (!PACKAGE.test(name) || !VERSION.test(version)) found.notes.push(`${key} is no name of a package`);
    else found.packages.push({ name, version, held: part(fact, 'held') === true });
  }
}

/** Begun and never ended, as an installation whose host went down: it is not there, whatever its files look like. */
function isHalfway(fact: FactValue | undefined): boolean {
  const state = fact === undefined ? undefined : part(fact, 'state');
  return state === 'unpacked' || state === 'half-installed' || state === 'half-configured';
}

function compareAccounts(found: Mutable, there: Sections, here: Sections): void {
  const groups = there['groups'] ?? {};
  const ownGroups = here['groups'] ?? {};
  const added = new Set<string>();
  for (const [name, fact] of Object.entries(groups)) {
    if (!ACCOUNT.test(name)) continue;
    const gid = Number(part(fact, 'gid'));
    const own = ownGroups[name];
    if (own !== undefined) {
      const has = Number(part(own, 'gid'));
      if (has !== gid && gid >= FIRST_PERSON && gid !== NOBODY)
        found.refusals.push(`group ${name} has the id ${has} here, and ${gid} on the primary`);
      continue;
    }
    const holder = ownerOf(ownGroups, 'gid', gid);
    if (holder !== undefined) conflict(found, 'group', name, gid, holder);
    else if (isId(gid)) {
      found.accounts.push(['groupadd', '--gid', String(gid), name]);
      added.add(name);
    }
  }
  const ownUsers = here['users'] ?? {};
  for (const [name, fact] of Object.entries(there['users'] ?? {})) {
    if (!ACCOUNT.test(name)) continue;
    const uid = Number(part(fact, 'uid'));
    const supplementary = list(part(fact, 'groups')).filter((group) => group in ownGroups || added.has(group));
    const own = ownUsers[name];
    if (own !== undefined) {
      const has = Number(part(own, 'uid'));
      if (has !== uid && uid >= FIRST_PERSON && uid !== NOBODY)
        found.refusals.push(`user ${name} has the id ${has} here, and ${uid} on the primary`);
      const lacking = supplementary.filter((group) => !list(part(own, 'groups')).includes(group));
      if (lacking.length > 0) found.accounts.push(['usermod', '--append', '--groups', lacking.join(','), name]);
      continue;
    }
    const holder = ownerOf(ownUsers, 'uid', uid);
    const group = text(part(fact, 'group'));
    if (holder !== undefined) conflict(found, 'user', name, uid, holder);
    else if (!(group in ownGroups) && !added.has(group)) {
      // Its number may be another group's here.
      const what = `user ${name}: its group ${group || 'of no name'} can’t be had here`;
      (uid >= FIRST_PERSON && uid !== NOBODY ? found.refusals : found.notes).push(what);
    } else if (isId(uid)) found.accounts.push(userAdd(name, fact, uid, group, supplementary));
  }
}

function userAdd(name: string, fact: FactValue, uid: number, group: string, groups: readonly string[]): string[] {
  const [home, shell, comment] = ['home', 'shell', 'comment'].map((key) => text(part(fact, key)));
  const words = ['useradd', '--uid', String(uid), '--gid', group];
  words.push('--no-create-home', '--no-user-group', '--comment', (comment ?? '').replaceAll(/[:\n]/g, ' '));
  if (home?.startsWith('/') === true) words.push('--home-dir', home);
  if (shell?.startsWith('/') === true) words.push('--shell', shell);
  if (groups.length > 0) words.push('--groups', groups.join(','));
  return [...words, name];
}

/** People's ids are in what is restored; those of packages are not relied on. */
function conflict(found: Mutable, kind: string, name: string, id: number, holder: string): void {
  const what = `${kind} ${name}: the id ${id} belongs to ${holder} here`;
  if (id >= FIRST_PERSON && id !== NOBODY) found.refusals.push(what);
  else found.notes.push(what);
}

function compareFiles(found: Mutable, there: Section, here: Section, directory: string): void {
  for (const [path, fact] of Object.entries(there)) {
    if (!path.startsWith('/') || typeof fact !== 'string' || here[path] === fact) continue;
    const name = path.slice(directory.length);
    if (!path.startsWith(directory) || !/^[A-Za-z0-9_.-]+$/.test(name) || name.startsWith('.')) {
      found.notes.push(`${path} is different, and is left as it is`);
    } else if (path in here) found.notes.push(`${path} is different here, and stays`);
    else if (/^\s*-?kernel[./](hostname|domainname)\s*=/m.test(fact))
      found.notes.push(`${path} names the host: left out`);
    else found.files.push({ path, text: fact });
  }
}

function compareUnits(found: Mutable, there: Section, here: Section, protectedUnits: readonly string[]): void {
  const isGuarded = guardOf(protectedUnits, [there, here]);
  for (const [name, fact] of Object.entries(there)) {
    if (name.startsWith('init.d/') || !UNIT.test(name)) continue;
    const own = here[name];
    const unitText = text(part(fact, 'text'));
    if (unitText !== '' && text(part(own, 'text')) === '')
      found.files.push({ path: `/etc/systemd/system/${name}`, text: unitText });
    else if (unitText !== text(part(own, 'text')))
      found.notes.push(`unit ${name} is written differently here, and stays`);
    if (part(fact, 'enabled') !== true || part(own, 'enabled') === true) continue;
    // The agent alone starts those.
    if (!isGuarded(name)) found.units.push(name);
  }
}

/**
 * Units that packages have enabled here by being installed, and that must not start at a boot: those that the agent alone starts, and those that the
 * primary has not enabled, as far as its blueprint tells.
 * @param before @param after the section `units` of this host, around the installation
 */
export function unitsToDisable(
  before: Section,
  after: Section,
  there: Section | undefined,
  protectedUnits: readonly string[],
): string[] {
  const isGuarded = guardOf(protectedUnits, [there ?? {}, before, after]);
  return Object.entries(after).flatMap(([name, fact]) => {
    if (!UNIT.test(name) || part(fact, 'enabled') !== true || part(before[name], 'enabled') === true) return [];
    return isGuarded(name) || (there !== undefined && part(there[name], 'enabled') !== true) ? [name] : [];
  });
}

/**
 * Whether a unit is one of the protected ones by another name: `postgresql@15-main` is started by `postgresql`, and `mysql` may be an alias of
 * `mariadb`.
 */
function guardOf(protectedUnits: readonly string[], sections: readonly Section[]): (unit: string) => boolean {
  const base = (unit: string): string => unit.replace(/\.service$/, '').replace(/@.*$/, '');
  const aliases = sections.flatMap((section) =>
    Object.entries(section).flatMap(([name, fact]) =>
      textsOf(part(fact, 'wantedBy')).flatMap((by) => {
        const target = /^alias of (.+)$/.exec(by)?.[1];
        return target === undefined ? [] : [[base(name), base(target)] as const];
      }),
    ),
  );
  const guarded = new Set(protectedUnits.map(base));
  // An alias of an alias is rare, but costs nothing.
  for (let grew = true; grew;) {
    const size = guarded.size;
    for (const [one, other] of aliases) {
      if (guarded.has(one)) guarded.add(other);
      if (guarded.has(other)) guarded.add(one);
    }
    grew = guarded.size > size;
  }
  return (unit) => guarded.has(base(unit));
}

function textsOf(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one): one is string => typeof one === 'string') : [];
}

function compareFirewall(found: Mutable, there: Section, here: Section): void {
  const path = '/etc/nftables.conf';
  const rules = there[path];
  if (typeof rules !== 'string' || here[path] === rules) return;
  const own = ['nft', 'iptables-save', 'ip6tables-save', path].filter((key) => here[key] !== undefined);
  if (own.length > 0) found.notes.push(`this host has firewall rules of its own (${own.join(', ')}): they stay`);
  else found.files.push({ path, text: rules });
}

function part(fact: FactValue | undefined, key: string): unknown {
  return typeof fact === 'object' && !Array.isArray(fact) && Object.hasOwn(fact, key)
    ? Reflect.get(fact, key)
    : undefined;
}

function list(value: unknown): string[] {
  return textsOf(value).filter((one) => ACCOUNT.test(one));
}

function text(value: unknown): string {
  return typeof value === 'string' || typeof value === 'number' ? String(value) : '';
}

function isId(id: number): boolean {
  return Number.isInteger(id) && id >= 0 && id < 2 ** 32 - 1;
}

function ownerOf(section: Section, key: string, id: number): string | undefined {
  return Object.entries(section).find(([, fact]) => Number(part(fact, key)) === id)?.[0];
}
