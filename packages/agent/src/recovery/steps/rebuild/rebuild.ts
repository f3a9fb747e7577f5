// `rebuild`: this host gets what the primary has and it lacks, from the primary's blueprint: packages, accounts, cron, units and kernel settings.
//
// Hazards: a package that starts its service while it is installed (a policy forbids that, and never stays behind); half of a file (replaced as a
// whole); a rebuild in the path of a failover (a host that lacks nothing is looked at once, and nothing is run).
//
// Tested in rebuild.test.ts, with real packages and accounts.

import { randomUUID } from 'node:crypto';
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname } from 'node:path';
import type { FactValue, SectionName } from '@holdfast/shared/blueprint/blueprint';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { groups, users } from '../../../sources/blueprint/accounts.ts';
import { hostFiles } from '../../../sources/blueprint/host-files.ts';
import { packages } from '../../../sources/blueprint/packages.ts';
import { toolRunner, type RunTool } from '../../../sources/blueprint/run-tool.ts';
import { cron, units } from '../../../sources/blueprint/services.ts';
import { firewall, sysctl, system } from '../../../sources/blueprint/system.ts';
import { replaceFileDurably } from '../../../link/durable-file.ts';
import type { StepAnswer, StepContext, StepType } from '../step-type.ts';
import { toolPath } from '../tool-path.ts';
import {
  differenceOf,
  isEmpty,
  unitsToDisable,
  type Difference,
  type RebuildStep,
  type Section,
  type Sections,
} from './difference.ts';

/** invoke-rc.d asks it (Debian policy 9.3.3.2): 101 forbids. */
const POLICY = '/usr/sbin/policy-rc.d';
const POLICY_TEXT =
  '#!/bin/sh\n# Written by holdfast-agent while packages are installed: their services do not start.\nexit 101\n';
const QUIET = { DEBIAN_FRONTEND: 'noninteractive', RUNLEVEL: '1' };
const INSTALL = [
  'apt-get',
  '-y',
  '-q',
  '--no-install-recommends',
  '--no-remove',
  '-o',
  'Dpkg::Options::=--force-confold',
  'install',
];

export const rebuildStep: StepType<RebuildStep> = {
  changes: true,

  async precheck(spec, context) {
    const difference = await look(spec, context);
    if (difference.refusals.length > 0) return refused(difference);
    return (await refusedByApt(difference, context)) ?? { state: 'ok', message: summary(difference) };
  },

  async probe(spec, context) {
    const difference = await look(spec, context);
    if (policyIsOurs(context))
      return { state: 'not-done', message: `${POLICY} of an earlier attempt still forbids services` };
    return { state: isEmpty(difference) ? 'done' : 'not-done', message: summary(difference) };
  },

  async apply(spec, context) {
    const difference = await look(spec, context);
    if (difference.refusals.length > 0) return refused(difference);
    // What an agent left that died in the middle.
    if (policyIsOurs(context)) rmSync(context.path(POLICY), { force: true });
    const refusal = await refusedByApt(difference, context);
    if (refusal !== undefined) return refusal;
    const before = unitsHere(context);
    await install(difference, context);
    await disableInstalled(before, context);
    // A package may have made its own accounts.
    const accounts = (spec.users ? await look(spec, context) : difference).accounts;
    for (const command of accounts) await must(command, context);
    for (const { path, text } of difference.files) write(context.path(path), text, 0o644);
    if (difference.files.some(({ path }) => path.startsWith('/etc/systemd/')) && systemd(context))
      await must(['systemctl', 'daemon-reload'], context);
    for (const { path } of difference.files) {
      // A sandbox has the kernel's settings of its host, and may not set them.
      const settings = path.startsWith('/etc/sysctl.d/') && context.order.sandbox === '';
      if (settings) await must(['sysctl', '--quiet', '--load', path], context);
      if (path === '/etc/nftables.conf') await must(['nft', '-f', path], context);
    }
    if (systemd(context)) for (const unit of difference.units) await must(['systemctl', 'enable', unit], context);
    return { state: 'ok', message: summary(difference) };
  },

  async verify(spec, context) {
    const difference = await look(spec, context);
    return { state: isEmpty(difference) ? 'ok' : 'failed', message: summary(difference) };
  },
};

async function look(spec: RebuildStep, context: StepContext): Promise<Difference> {
  const { blueprint, protectedUnits = [] } = context.order.resolved;
  if (blueprint === undefined) {
    throw new HoldfastError('FAILED_PRECONDITION', 'the primary’s blueprint did not come with the step', {
      hint: 'Protect the primary with a blueprint source, and back it up.',
    });
  }
  const files = hostFiles(context.path('/'));
  const inPlace = toolRunner(context.signal);
  const run: RunTool = ([program, ...words]) => {
    // In a drill what the sandbox has is asked, and not its host.
    const [first = program, ...rest] = context.where([program, ...words]);
    return inPlace([first, ...rest]);
  };
  const own: Partial<Record<SectionName, ReadonlyMap<string, FactValue>>> = {
    system: system(files),
    ...(spec.packages ? { packages: await packages(files, run) } : {}),
    ...(spec.users ? { users: users(files), groups: groups(files) } : {}),
    ...(spec.cron ? { cron: cron(files) } : {}),
    ...(spec.sysctl ? { sysctl: sysctl(files) } : {}),
    ...(spec.units ? { units: units(files) } : {}),
    ...(spec.firewall ? { firewall: await firewall(files, run) } : {}),
  };
  const here: Sections = Object.fromEntries(
    Object.entries(own).map(([name, facts]) => [name, Object.fromEntries(facts)]),
  );
  const found = differenceOf(spec, blueprint, here, protectedUnits);
  // Without systemd there is nobody to enable a unit for.
  return systemd(context) ? found : { ...found, units: [] };
}

function systemd(context: StepContext): boolean {
  return context.order.sandbox === '' && existsSync('/run/systemd/system');
}

/** What apt-get would not do, or would do to what is here already. Undefined: it adds, and nothing else. */
async function refusedByApt(difference: Difference, context: StepContext): Promise<StepAnswer | undefined> {
  if (difference.packages.length === 0) return undefined;
  const command = tool([...INSTALL, '--simulate', ...(await wanted(difference, context))]);
  const { ok, problem, output } = await context.ask(command, { environment: QUIET });
  // "Inst NAME [OLD] (NEW …" replaces a version that is here; "Remv" removes.
  const harm = /^(Remv .*|Inst \S+ \[.*)$/m.exec(output)?.[1];
  if (ok && harm === undefined) return undefined;
  return {
    state: 'failed',
    message: ok
      ? `what is missing can’t be added without changing what is here: ${harm}`
      : `apt-get can’t install what is missing: ${problem}`,
    remedy: 'Bring this host to the primary’s package sources and state, then: apt-get update',
    output: Buffer.from(output),
  };
}

function policyIsOurs(context: StepContext): boolean {
  const policy = context.path(POLICY);
  return existsSync(policy) && readFileSync(policy, 'utf8') === POLICY_TEXT;
}

/** NAME=VERSION where that version can be had, else NAME. */
async function wanted({ packages: missing }: Difference, context: StepContext): Promise<string[]> {
  const words: string[] = [];
  for (const { name, version } of missing) {
    const exact = `${name}=${version}`;
    // It ends well for what it does not know, too.
    const { ok, output } = await context.ask(tool(['apt-cache', '--quiet=2', 'show', exact]));
    words.push(ok && output.includes(`Version: ${version}\n`) ? exact : name);
  }
  return words;
}

function unitsHere(context: StepContext): Section {
  return Object.fromEntries(units(hostFiles(context.path('/'))));
}

/** Before the next boot does what the policy kept the installation from doing. */
async function disableInstalled(before: Section, context: StepContext): Promise<void> {
  if (!systemd(context)) return;
  const { blueprint, protectedUnits = [] } = context.order.resolved;
  for (const unit of unitsToDisable(before, unitsHere(context), blueprint?.units, protectedUnits)) {
    await must(['systemctl', 'disable', unit], context);
  }
}

async function install(difference: Difference, context: StepContext): Promise<void> {
  if (difference.packages.length === 0) return;
  const policy = context.path(POLICY);
  // Somebody else's stays.
  const ours = !existsSync(policy);
  if (ours) write(policy, POLICY_TEXT, 0o755);
  try {
    await must([...INSTALL, ...(await wanted(difference, context))], context, QUIET);
  } finally {
    if (ours) rmSync(policy, { force: true });
  }
  const held = difference.packages.filter((one) => one.held).map(({ name }) => name);
  if (held.length > 0) await must(['apt-mark', 'hold', ...held], context);
}

async function must(
  command: readonly string[],
  context: StepContext,
  environment: Readonly<Record<string, string>> = {},
): Promise<void> {
  const ending = await context.run(tool(command), environment);
  if (ending.kind === 'exited' && ending.code === 0) return;
  const how = ending.kind === 'exited' ? `ended with exit code ${ending.code}` : 'was ended by something else';
  throw new HoldfastError('FAILED_PRECONDITION', `${command.slice(0, 12).join(' ')} ${how}`, {
    hint: 'What it said stands in the output of the step. What is done already is not done again.',
  });
}

/** The program by its own path. Throws FAILED_PRECONDITION for one that this host does not have. */
function tool([program = '', ...words]: readonly string[]): string[] {
  return [toolPath(program, 'The blueprint is of a Debian host; this one must be one, too.'), ...words];
}

function write(path: string, text: string, mode: number): void {
  mkdirSync(dirname(path), { recursive: true });
  replaceFileDurably(dirname(path), basename(path), Buffer.from(text), randomUUID());
  chmodSync(path, mode);
}

function refused({ refusals }: Difference): StepAnswer {
  return {
    state: 'failed',
    message: refusals.join('; '),
    remedy: 'Mend this on the standby, or leave that part out of the step.',
  };
}

function summary(difference: Difference): string {
  const { accounts, files, notes } = difference;
  const counts = [
    [difference.packages.length, 'packages'],
    [accounts.length, 'changes of accounts'],
    [files.length, 'files'],
    [difference.units.length, 'units'],
  ] as const;
  const missing = counts.filter(([count]) => count > 0).map(([count, what]) => `${count} ${what}`);
  const said = missing.length === 0 ? 'nothing is missing' : `to be added: ${missing.join(', ')}`;
  return notes.length === 0 ? said : `${said}. Left as they are: ${notes.join('; ')}`;
}
