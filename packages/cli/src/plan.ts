// `holdfast plan`: recovery plans: how an application runs again on another host.

import { Option, type Command } from 'commander';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { graphLines, planNodes } from '@holdfast/shared/recovery/graph';
import { runbookHtml } from '@holdfast/shared/recovery/runbook-html';
import { runbookMarkdown } from '@holdfast/shared/recovery/runbook-markdown';
import { makeRunbook } from '@holdfast/shared/recovery/runbook';
import { MODES, type Mode } from '@holdfast/shared/recovery/step-types';
import { factLines, findingFields } from './recovery/finding-words.ts';
import { checkDocument } from './recovery/plan-check.ts';
import { diffPlans } from './recovery/plan-diff.ts';
import { hostsOf, namedPlan, readDocument } from './recovery/plan-document.ts';
import { planDetails, planFields, planTable, planWords } from './recovery/plan-words.ts';
import { followRun, judgeRun } from './recovery/follow-run.ts';
import { runHost } from './recovery/run-host.ts';
import { eventFields, runFields, stepFields } from './recovery/run-words.ts';
import { endWords } from './run.ts';
import { readSecret } from './session/secret.ts';
import type { Session } from './session/session.ts';
import { parseTime } from './words/times.ts';

export function define(program: Command, session: Session): void {
  const plan = program
    .command('plan')
    .description('recovery plans: how an application runs again on another host')
    .addHelpText('after', HELP);
  defineDocuments(plan, session);
  definePlans(plan, session);
  defineOverride(plan, session);
  defineSecrets(plan, session);
  defineRun(plan, session);
}

function defineRun(plan: Command, session: Session): void {
  plan
    .command('run')
    .description('carry a plan out, or all plans of a host; Ctrl-C stops following it, and it goes on')
    .argument('[name]', 'the plan')
    .option('--host <host>', 'instead of one plan: start all whose primary is this host, in their order')
    .addOption(new Option('--mode <mode>', 'what for').choices(MODES).makeOptionMandatory())
    .option('--at <time>', 'the point in time to recover to; without it as the plan says')
    .addOption(new Option('--latest-clean', 'the newest point before a suspicion of damage').conflicts('at'))
    .option('--fence-confirmed', 'unplanned: you vouch that the old primary is off')
    .option('--detach', 'only start it')
    .option('--yes', 'with --host: ask nobody')
    .addHelpText('after', RUN_HELP)
    .action(async (name: string | undefined, options: RunOptions) => await runPlans(session, name, options));
}

function defineDocuments(plan: Command, session: Session): void {
  plan
    .command('check')
    .description('check a plan document: fields, order, variables, fencing; logged in also its hosts and sources')
    .argument('<file>', 'the plan, YAML')
    .option('--live', 'ask every host whether its steps could work now')
    .action(
      async (file: string, options: { live?: boolean }) => await checkDocument(session, file, options.live === true),
    );
  plan
    .command('apply')
    .description('make a document the plan from now on; it never moves who serves')
    .argument('<file>', 'the plan, YAML')
    .action(async (file: string) => await apply(session, file));
  plan
    .command('diff')
    .description('what changed: between the last two revisions, two that are named, or a revision and a file')
    .argument('<name>', 'the plan')
    .argument('[from]', 'a revision; or a file, to compare the newest revision with')
    .argument('[to]', 'a revision')
    .action(async (name: string, from?: string, to?: string) => await diffPlans(session, name, from, to));
  plan
    .command('graph')
    .description('the steps and what they wait for, in the terminal')
    .argument('<plan>', 'its name, or a file')
    .addOption(new Option('--mode <mode>', 'only this mode').choices(MODES))
    .action(async (named: string, options: { mode?: Mode }) => await graph(session, named, options.mode));
  plan
    .command('runbook')
    .description('the plan as instructions to follow by hand, without a controller')
    .argument('<plan>', 'its name, or a file')
    .addOption(new Option('--mode <mode>', 'only this mode').choices(MODES))
    .option('--html', 'one page, to print')
    .action(async (named: string, options: { mode?: Mode; html?: boolean }) => await runbook(session, named, options));
}

function definePlans(plan: Command, session: Session): void {
  plan
    .command('ls')
    .description('all plans: state, who serves, what a failover would take and lose')
    .action(async () => {
      const { plans } = await (await session.recovery()).listPlans({ domain: await session.domain() });
      if (session.json) return await session.document({ plans: plans.map(planFields) });
      await session.write(planTable(plans, session.environment.now(), session.width));
    });
  plan
    .command('show')
    .description('a plan: is it ready, what would it take, its revisions and runs')
    .argument('<name>', 'the plan')
    .option('--revision <number>', 'its document as of this revision')
    .option('--document', 'print the document alone')
    .action(
      async (name: string, options: { revision?: string; document?: boolean }) => await show(session, name, options),
    );
  plan
    .command('rm')
    .description('remove a plan; its runs and reports stay')
    .argument('<name>', 'the plan')
    .action(async (name: string) => {
      await (await session.recovery()).removePlan({ domain: await session.domain(), plan: name });
      const words = `Removed plan ${name}. What a warm copy of it holds stays on the standby, and is the plan’s no longer.\n`;
      await (session.json ? session.document({ removed: name }) : session.write(words));
    });
}

function defineOverride(plan: Command, session: Session): void {
  plan
    .command('override')
    .description('after the catalog was restored from an older state: go on without a host that is off for good')
    .argument('<name>', 'the plan')
    .requiredOption('--dead <host>', 'you vouch that this host of the plan is off, and stays off')
    .option('--reason <text>', 'why: it stands in the audit trail', '')
    .addHelpText('after', OVERRIDE_HELP)
    .action(async (name: string, options: { dead: string; reason: string }) => await override(session, name, options));
}

async function override(session: Session, name: string, given: { dead: string; reason: string }): Promise<void> {
  const { survivor, goesOn, epoch } = await (
    await session.recovery()
  ).overridePlan({ domain: await session.domain(), plan: name, deadHost: given.dead, reason: given.reason });
  if (session.json)
    return await session.document({ plan: name, dead: given.dead, survivor, goesOn, epoch: Number(epoch) });
  const then = goesOn
    ? `${survivor} served last by its own record, and goes on under epoch ${epoch}.`
    : `Nobody serves yet: holdfast plan run ${name} --mode unplanned --fence-confirmed brings it up on ${survivor}, under epoch ${epoch}.`;
  await session.write(`${given.dead} is given up. ${then}\n`);
}

const OVERRIDE_HELP = `
A catalog that was restored has forgotten what happened since the copy. So it grants and orders nothing for a plan until both hosts have said
which epochs they know. Where one of them is lost, nobody but you can say that it never will.

Only if it is off, and stays off: if it runs, two hosts serve. The other one must be connected. A promotion that the copy does not know of may
have made the lost host the primary: then its newest changes are on its disk alone. If it is started again later, it is told to stop.

  holdfast plan override shop --dead web-2 --reason 'the machine burnt out'
`;

function defineSecrets(plan: Command, session: Session): void {
  const secret = plan.command('secret').description('secrets that plans name: never in a document, never shown again');
  secret
    .command('set')
    .description('set a secret: asked for, or from standard input')
    .argument('<name>', 'as plans name it')
    .option('--file <file>', 'read it from this file')
    .action(async (name: string, options: { file?: string }) => {
      const value = await readSecret(session.environment, { prompt: `Value of ${name}: `, file: options.file });
      await setSecret(session, name, Buffer.from(value));
    });
  secret
    .command('rm')
    .description('forget a secret')
    .argument('<name>', 'as plans name it')
    .action(async (name: string) => await setSecret(session, name, Buffer.alloc(0)));
}

async function setSecret(session: Session, name: string, value: Buffer): Promise<void> {
  await (await session.recovery()).setPlanSecret({ domain: await session.domain(), name, value });
  const word = value.length === 0 ? 'removed' : 'set';
  await (session.json
    ? session.document({ secret: name, [word]: true })
    : session.write(`Secret ${name} is ${word}.\n`));
}

async function apply(session: Session, file: string): Promise<void> {
  const document = readDocument(session, file);
  const { plan, changed, findings } = await (
    await session.recovery()
  ).applyPlan({ domain: await session.domain(), document });
  if (session.json) {
    return await session.document({ plan: plan && planFields(plan), changed, findings: findings.map(findingFields) });
  }
  const what = changed ? 'is applied' : 'is what is applied already';
  await session.write(`Plan ${plan?.name}, revision ${plan?.revision}, ${what}.\n${factLines(findings, false)}`);
}

async function show(session: Session, name: string, options: { revision?: string; document?: boolean }): Promise<void> {
  const revision = options.revision === undefined ? 0 : revisionOf(options.revision);
  const answer = await (await session.recovery()).getPlan({ domain: await session.domain(), plan: name, revision });
  if (options.document === true && !session.json) return await session.write(answer.document);
  if (session.json) return await session.document(planDetails(answer));
  await session.write(planWords(answer, session.environment.now(), session.width));
}

/** Throws USAGE. */
function revisionOf(text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new HoldfastError('USAGE', `"${text}" is no revision`, {
    hint: 'Revisions are numbers from 1 on: holdfast plan show NAME --json',
  });
}

const GRAPH_COLUMNS = 80;

async function graph(session: Session, named: string, mode: Mode | undefined): Promise<void> {
  const found = await namedPlan(session, named);
  const modes = mode === undefined ? MODES.toReversed() : [mode];
  const drawn = modes.map((each) => ({ mode: each, nodes: planNodes(found.plan, each, hostsOf(found)) }));
  if (session.json) return await session.document({ plan: found.plan.metadata.name, modes: drawn });
  const width = session.width ?? GRAPH_COLUMNS;
  const parts = drawn.map((each) => `${each.mode}\n${graphLines(each.nodes, width).join('\n')}\n`);
  await session.write(parts.join('\n'));
}

async function runbook(session: Session, named: string, options: { mode?: Mode; html?: boolean }): Promise<void> {
  const found = await namedPlan(session, named);
  const book = makeRunbook(found.plan, {
    ...hostsOf(found),
    revision: found.info?.revision ?? 0,
    madeAtMs: session.environment.now(),
    modes: options.mode === undefined ? ['unplanned', 'planned'] : [options.mode],
    addresses: found.info === undefined ? new Map() : await addressesOf(session),
  });
  if (session.json) return await session.document(book);
  await session.write(options.html === true ? runbookHtml(book) : runbookMarkdown(book));
}

async function addressesOf(session: Session): Promise<Map<string, string>> {
  const { hosts } = await (await session.operator()).listHosts({ domain: await session.domain() });
  return new Map(hosts.flatMap(({ name, address }) => (address === '' ? [] : [[name, address] as const])));
}

interface RunOptions {
  readonly host?: string;
  readonly mode: Mode;
  readonly at?: string;
  readonly latestClean?: boolean;
  readonly fenceConfirmed?: boolean;
  readonly detach?: boolean;
  readonly yes?: boolean;
}

async function runPlans(session: Session, name: string | undefined, options: RunOptions): Promise<void> {
  const { host, mode } = options;
  if (options.fenceConfirmed === true && mode !== 'unplanned') {
    throw new HoldfastError('USAGE', '--fence-confirmed goes with --mode unplanned');
  }
  const atMs = options.at === undefined ? 0n : BigInt(parseTime(options.at));
  const asked = { atMs, latestClean: options.latestClean === true, fenceConfirmed: options.fenceConfirmed === true };
  if (host !== undefined) {
    if (name !== undefined) throw new HoldfastError('USAGE', 'name a plan, or --host for all of a host');
    return await runHost(session, { host, mode, yes: options.yes === true, ...asked });
  }
  if (name === undefined) {
    throw new HoldfastError('USAGE', 'which plan?', {
      hint: 'holdfast plan run NAME, or --host HOST for all of a host',
    });
  }
  const { run } = await (
    await session.recovery()
  ).startRun({ domain: await session.domain(), plan: name, mode, ...asked });
  await followStarted(session, run, options);
}

async function followStarted(session: Session, id: string, options: RunOptions): Promise<void> {
  if (options.detach === true) {
    return await (session.json ? session.document({ id }) : session.write(`${id}\n`));
  }
  session.remark(`Run ${id}`);
  const unattended = session.json || !session.environment.stderrIsTerminal;
  const { run, steps, events } = await followRun(session, id, { until: 'served', unattended, events: false });
  if (run === undefined) return;
  if (session.json) {
    const told = { steps: [...steps.values()].map(stepFields), events: events.map(eventFields) };
    await session.document({ ...runFields(run), ...told });
  } else await session.write(endWords(session, run, [...steps.values()]));
  const error = judgeRun(session, run);
  if (error !== undefined) throw error;
}

const HELP = `
Examples:
  holdfast plan check shop.yaml --live
  holdfast plan apply shop.yaml
  holdfast plan graph shop --mode unplanned
  holdfast plan run shop --mode drill
  holdfast plan run shop --mode unplanned --latest-clean
  holdfast plan run --host web-1 --mode unplanned
  holdfast plan runbook shop --html > shop.html
`;

const RUN_HELP = `
With --host a run is started for each plan that the host serves, and none is followed. What begins is shown in its order, and you are asked once. Say
it again whenever you like: a plan whose run goes on is named, not started twice. Exits with 1 if any plan was refused.

  holdfast plan run --host web-1 --mode unplanned --fence-confirmed    # it is lost, and switched off for sure
  holdfast plan run --host web-1 --mode planned                        # it is to be emptied
`;
