// A plan as instructions that a person can follow by hand, when nothing is left that would follow them: steps in order, what to type, where,
// how to see that it worked, and what to do when it did not.
//
// Hazard: the controller is gone, and with it the plan's secrets, leases and fences. So the runbook begins with what has to be true
// before anything is started, and with how restores are made possible again from the packs alone.
//
// Pure. Tested in runbook.test.ts; words for terminals and paper are in runbook-markdown.ts and runbook-html.ts.

import { inOrder, hostOf } from './graph.ts';
import type { Plan } from './plan.ts';
import { DESK, instructionOf, listed, POINT, quote, type Instruction, type RunbookHosts } from './runbook-steps.ts';
import { durationText, type Mode, type Step } from './step-types.ts';

export interface RunbookFacts extends RunbookHosts {
  /** 0: from a file, not applied. */
  readonly revision: number;
  /** Unix ms. */
  readonly madeAtMs: number;
  readonly modes: readonly Mode[];
  /** By name of the host, where they are known. */
  readonly addresses: ReadonlyMap<string, string>;
}

export interface Runbook {
  readonly title: string;
  /** One line a fact. */
  readonly facts: readonly (readonly [name: string, value: string])[];
  readonly chapters: readonly Chapter[];
}

export interface Chapter {
  readonly title: string;
  readonly lead: readonly string[];
  readonly steps: readonly RunbookStep[];
}

export interface RunbookStep extends Instruction {
  readonly title: string;
  /** Empty: no host's. */
  readonly host: string;
}

export function makeRunbook(plan: Plan, facts: RunbookFacts): Runbook {
  const { metadata, objectives, placement } = plan;
  const address = (host: string): string => {
    const known = [
      facts.addresses.get(host),
      ...Object.entries(placement.vars[host] ?? {}).map(([key, value]) => `${key}=${value}`),
    ];
    const shown = known.filter((each) => each !== undefined);
    return shown.length === 0 ? host : `${host} (${shown.join(', ')})`;
  };
  return {
    title: `Runbook: ${metadata.name}`,
    facts: [
      ['Plan', facts.revision === 0 ? 'from a file' : `revision ${facts.revision}`],
      ['Printed', new Date(facts.madeAtMs).toISOString().replace('T', ' ').slice(0, 16).concat(' UTC')],
      ['Owner', metadata.owner],
      ['Primary', address(facts.primary)],
      ['Standby', address(facts.standby)],
      ['Promised', `back within ${durationText(objectives.rto)}, with at most ${durationText(objectives.rpo)} lost`],
      ['Needs first', metadata.dependsOn.join(', ')],
      [
        'Secrets',
        plan.secrets.length === 0
          ? ''
          : `${plan.secrets.join(', ')}: not in here; they are in the controller, and wherever you keep them`,
      ],
      ['People', people(plan)],
    ].filter((fact): fact is [string, string] => fact[1] !== ''),
    chapters: [
      beforeChapter(plan, facts),
      controllerChapter(),
      ...facts.modes.map((mode) => modeChapter(plan, mode, facts)),
      afterChapter(plan, facts),
    ],
  };
}

function people(plan: Plan): string {
  return Object.entries(plan.contacts)
    .map(
      ([name, { email, webhook }]) =>
        `${name}: ${[...email, ...(webhook === undefined ? [] : [webhook.url])].join(', ')}`,
    )
    .join('; ');
}

type Typed = readonly (readonly [where: string, line: string])[];

function manual(title: string, text: string, typed: Typed = []): RunbookStep {
  const blocks: { where: string; lines: string[] }[] = [];
  for (const [where, line] of typed) {
    const last = blocks.at(-1);
    if (last?.where === where) last.lines.push(line);
    else blocks.push({ where, lines: [line] });
  }
  return { title, host: '', text, blocks, check: '', onFailure: '' };
}

function beforeChapter(plan: Plan, { primary, standby }: RunbookFacts): Chapter {
  const name = plan.metadata.name;
  const probe = plan.detect.witnesses?.probe;
  return {
    title: 'Before you start',
    lead: ['Write down every step with the time: it is the report.'],
    steps: [
      manual(
        'Is there a controller?',
        'If it answers, let it do the work: it is faster, and keeps two hosts from serving at once.',
        [
          [DESK, `holdfast plan show ${name}`],
          [DESK, `holdfast plan run ${name} --mode unplanned`],
        ],
      ),
      manual(
        `Is ${primary} really dead?`,
        `Look from at least two places. That you can't reach it proves nothing: you may be the one who is cut off. If it answers to anybody, stop: then this is not an unplanned failover.`,
        probe === undefined
          ? []
          : [
              [
                listed(plan.detect.witnesses?.hosts ?? []),
                `curl -fsS --max-time 10 ${quote(withVars(plan, probe, primary, primary))}`,
              ],
            ],
      ),
      manual(
        'Who decides?',
        `Agree on one person who leads, and one who writes. ${plan.approvals === undefined ? '' : `Approval: ${plan.approvals.need} of ${listed(plan.approvals.roles)}.`}`.trim(),
      ),
      manual(
        'Which point in time?',
        `Choose the time to recover to, and write it in quotes wherever this runbook says ${POINT}: '2026-11-22 10:00'. After encryption or damage, take one from before it began.`,
        plan.sources.map((source) => [DESK, `holdfast source show ${primary}/${source}`] as const),
      ),
      ...(plan.detect.mode === 'automatic'
        ? [
            manual(
              `Let ${standby} serve without a lease`,
              `The agent on ${standby} keeps the services closed until it holds a lease. Only when ${primary} is fenced:`,
              [[standby, `holdfast-agent serve --force ${name}`]],
            ),
          ]
        : []),
    ],
  };
}

function controllerChapter(): Chapter {
  const box = 'A new machine that reaches the packs';
  return {
    title: 'If there is no controller any more',
    lead: [
      'Restores need one. It can be made again from the packs, the master key and the recovery sheets alone, without the old one.',
    ],
    steps: [
      manual(
        'Bring its catalog back',
        'Install the controller, give it the packs (or the copy of them), the master key and the recovery sheets.',
        [
          [box, 'install -m 600 MASTER_KEY /var/lib/holdfast/master-key'],
          [box, 'holdfast-controller rebuild --data /var/lib/holdfast --vault PACKS --recovery-sheet SHEET'],
          [box, 'holdfast-controller serve --data /var/lib/holdfast'],
        ],
      ),
      manual('Enrol the standby again', 'It has a new authority: old certificates are worth nothing.', [
        [box, 'holdfast login HOST:7400 --ca /var/lib/holdfast/ca.pem --token-file /var/lib/holdfast/admin-token'],
        [box, 'holdfast host add STANDBY   # prints the one line to run there'],
      ]),
    ],
  };
}

const MODE_TITLES: Readonly<Record<Mode, string>> = {
  unplanned: 'The primary is lost (unplanned)',
  planned: 'The primary is to be left in good order (planned)',
  drill: 'Drill: on the standby, apart from production',
};

function modeChapter(plan: Plan, mode: Mode, facts: RunbookFacts): Chapter {
  const running = inOrder(plan.steps.filter((step) => step.in.includes(mode)));
  const steps = running.map((step) => runbookStep(plan, step, facts));
  const last = running.findLastIndex(({ type }) => type === 'restore.files');
  if (plan.render.length > 0 && last >= 0) steps.splice(last + 1, 0, renderStep(plan, facts));
  const parallel = running.some((step, at) => at > 0 && step.needs.length === 0);
  const lead = [
    ...(mode === 'drill' ? ['Nothing here may reach production: use a machine or a network of its own.'] : []),
    ...(parallel ? ['Steps that wait for nothing may be done at once by several people.'] : []),
  ];
  return { title: MODE_TITLES[mode], lead, steps };
}

function runbookStep(plan: Plan, step: Step, facts: RunbookFacts): RunbookStep {
  const host = hostOf(step, facts);
  const own = plan.placement.hosts.includes(host) ? host : facts.standby;
  const drawn = instructionOf(withVarsIn(plan, step, own, facts.primary), plan, facts);
  const needs = step.needs.length === 0 ? '' : ` (after ${step.needs.join(', ')})`;
  return { ...drawn, title: `${step.id}: ${step.type}${needs}`, host };
}

function renderStep(plan: Plan, { primary, standby }: RunbookFacts): RunbookStep {
  const lines = plan.render.flatMap(({ file, replace }) =>
    Object.entries(replace).map(([from, to]) => {
      const old = withVars(plan, from, standby, primary).replace(/[\\/.*[\]^$]/g, '\\$&');
      const fresh = withVars(plan, to, standby, primary).replace(/[\\/&]/g, '\\$&');
      return `sed -i ${quote(`s/${old}/${fresh}/g`)} ${quote(file)}`;
    }),
  );
  return {
    title: `configuration: what names ${primary} names ${standby} now`,
    host: standby,
    text: 'Replace what is different on this host.',
    blocks: [{ where: standby, lines }],
    check: '',
    onFailure: 'Edit the files by hand.',
  };
}

function afterChapter(plan: Plan, { primary, standby }: RunbookFacts): Chapter {
  return {
    title: 'Afterwards',
    lead: [],
    steps: [
      manual(
        `Keep ${primary} down`,
        `When it comes back, it must not serve. Keep what it holds: there may be orders on it that nobody else has.`,
      ),
      manual(
        `Protect ${standby}`,
        'It is the primary now, and from this moment on it has to be backed up.',
        plan.sources.map(
          (source) =>
            [
              DESK,
              `holdfast backup ${standby}/${source}   # or: holdfast source add ${source} --host ${standby} …`,
            ] as const,
        ),
      ),
      manual('Tell people', `${plan.metadata.owner}, and the customers: since when it is back, and what was lost.`),
      manual('Mend the runbook', 'Whatever was not as it says here.'),
    ],
  };
}

/** A step with the variables of its host put in, wherever they stand. */
function withVarsIn(plan: Plan, step: Step, host: string, primary: string): Step {
  const visit = (value: unknown): unknown => {
    if (typeof value === 'string') return withVars(plan, value, host, primary);
    if (Array.isArray(value)) return value.map(visit);
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, held]) => [key, visit(held)]));
  };
  return visit(step) as Step;
}

/** `${recoveryPoint}` and what is unknown stay. */
function withVars(plan: Plan, text: string, host: string, primary: string): string {
  const { vars } = plan.placement;
  return text.replace(/\$\{([^}]*)\}/g, (whole, name: string) => {
    if (name.startsWith('primary.')) return vars[primary]?.[name.slice('primary.'.length)] ?? whole;
    return vars[host]?.[name] ?? whole;
  });
}
