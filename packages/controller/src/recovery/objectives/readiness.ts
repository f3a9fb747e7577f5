// Could this plan be carried out now? Each fact that makes it unready, or risky, with what to do about it.
//
// Hazards: a plan that looks ready and is not; and one that is called unready for a risk that a failover would still be better than, which
// would disarm it. So an error is what a run can't do without; everything else is a warning.
//
// Invariants (objectives.test.ts): R1 a plan without errors has both hosts, all sources stored, its secrets and its witnesses, and was looked
// at on its hosts; R2 every fact that is not well says what to do.
//
// Pure.

import { durationText } from '@holdfast/shared/recovery/step-types';

import { alertContacts } from '../notify/alert-contacts.ts';
import { recipientsOf } from '../notify/recipients.ts';
import type { DrillState } from './drills.ts';
import type { Forecast } from './forecast.ts';
import type { Fact, PlanLook } from './plan-look.ts';

export interface Judged {
  readonly forecast: Forecast;
  readonly drill: DrillState;
}

/** Errors first; in each level in the order of the plan. */
export function readinessOf(look: PlanLook, judged: Judged): Fact[] {
  const facts = [
    ...verification(look),
    ...objections(look),
    ...hosts(look),
    ...witnesses(look),
    ...sources(look),
    ...suspicions(look),
    ...secrets(look),
    ...dependencies(look),
    ...contacts(look),
    ...look.further,
    ...objectives(look, judged.forecast),
    ...drills(look, judged.drill),
  ];
  const order = { error: 0, warning: 1, ok: 2 };
  return facts.toSorted((a, b) => order[a.level] - order[b.level]);
}

export function isReady(facts: readonly Fact[]): boolean {
  return facts.every(({ level }) => level !== 'error');
}

function verification({ plan, verifiedAt, unverifiedBecause }: PlanLook): Fact[] {
  if (verifiedAt !== null) return [ok('plan', `its steps were checked on their hosts at ${timeText(verifiedAt)}`)];
  const { name } = plan.metadata;
  const message = `it is not verified: ${unverifiedBecause || 'its steps were not checked on their hosts'}`;
  return [
    error(
      'plan',
      message,
      `holdfast plan show ${name} --document > ${name}.yaml && holdfast plan check ${name}.yaml --live`,
    ),
  ];
}

/** Of a document that an older version accepted. A failover by it would still be better than none. */
function objections({ plan, findings }: PlanLook): Fact[] {
  const { name } = plan.metadata;
  return findings.map(({ line, field, message }) =>
    warning(
      'plan',
      `an older version accepted what this one would refuse: line ${line}, ${field}: ${message}`,
      `holdfast plan show ${name} --document > ${name}.yaml, mend it, then: holdfast plan apply ${name}.yaml`,
    ),
  );
}

function hosts({ primary, standby, hosts: known }: PlanLook): Fact[] {
  const roles = [
    [standby, 'standby', 'error'],
    [primary, 'primary', 'warning'],
  ] as const;
  return roles.map(([name, role, level]) => {
    const host = known.get(name);
    if (host === undefined || host.state === 'revoked')
      return error(name, `the ${role} is no host of the fleet`, `holdfast host add ${name}, or change placement.hosts`);
    if (host.state === 'waiting') return error(name, `the ${role} is not enrolled`, `holdfast host add ${name}`);
    if (host.state === 'online') return ok(name, `the ${role} is connected`);
    const since = host.silentMs === undefined ? '' : ` for ${spanText(host.silentMs)}`;
    return {
      level,
      subject: name,
      message: `the ${role} is not connected${since}`,
      remedy: 'Look at its agent: systemctl status holdfast-agent',
    };
  });
}

function witnesses({ plan, hosts: known }: PlanLook): Fact[] {
  const { mode, witnesses: wanted } = plan.detect;
  if (mode === 'manual' || wanted === undefined) return [];
  const away = wanted.hosts.filter((name) => known.get(name)?.state !== 'online');
  if (away.length === 0) return [ok('witnesses', `all ${wanted.hosts.length} are connected`)];
  const left = wanted.hosts.length - away.length;
  const message = `${away.join(', ')} ${away.length === 1 ? 'is' : 'are'} not connected: ${left} of the ${wanted.agree} that must agree`;
  const remedy = 'Look at their agents, or name other witnesses in detect.witnesses.';
  return [left < wanted.agree ? error('witnesses', message, remedy) : warning('witnesses', message, remedy)];
}

function sources(look: PlanLook): Fact[] {
  const { plan, primary, sources: known } = look;
  return plan.sources.map((name) => {
    const title = `${primary}/${name}`;
    const source = known.get(name);
    if (source === undefined)
      return error(title, 'there is no such source', `holdfast source add ${name} --host ${primary} …`);
    if (source.lagMs === undefined)
      return error(title, 'nothing of it can be recovered yet', `holdfast backup ${title}`);
    if (source.damaged)
      return warning(title, 'its newest snapshot is damaged: an older one would be used', `holdfast verify ${title}`);
    if (source.state === 'suspect')
      return warning(title, 'its newest snapshot is suspect', `holdfast source show ${title}`);
    if (source.state === 'gap') return warning(title, 'its log has a gap', `holdfast backup ${title}`);
    const { maxAge } = plan.recoveryPoint;
    const lag = spanText(source.lagMs);
    if (maxAge !== undefined && source.lagMs > maxAge)
      return warning(
        title,
        `${lag} would be lost, and a run refuses more than ${durationText(maxAge)}`,
        `holdfast source show ${title}`,
      );
    if (source.lagMs > plan.objectives.rpo)
      return warning(
        title,
        `${lag} would be lost, of ${durationText(plan.objectives.rpo)} promised`,
        `holdfast source show ${title}`,
      );
    return ok(title, `${lag} would be lost`);
  });
}

/** What a person should decide before a run does: it was an attack, or it was meant. */
function suspicions({ plan, primary, suspicion }: PlanLook): Fact[] {
  if (suspicion === undefined) return [];
  const { name } = plan.metadata;
  const when = timeText(new Date(suspicion.atMs));
  const point =
    plan.recoveryPoint.default === 'latest-clean' ? 'goes back to before that' : 'takes the newest all the same';
  const message = `it changed as a whole at ${when} (${suspicion.why}); an unplanned run ${point}`;
  const remedy = `Was it an attack? holdfast plan run ${name} --mode unplanned --latest-clean. Was it meant? --at TIME, or recoveryPoint.default: latest`;
  return [warning(`${primary}/${suspicion.source}`, message, remedy)];
}

function secrets({ missingSecrets }: PlanLook): Fact[] {
  return missingSecrets.map((name) => error(`secret ${name}`, 'it is not set', `holdfast plan secret set ${name}`));
}

function dependencies({ missingPlans }: PlanLook): Fact[] {
  return missingPlans.map((name) =>
    warning(`plan ${name}`, 'dependsOn names it, and there is no such plan: nothing waits for it', 'holdfast plan ls'),
  );
}

/** Whom the plan's steps name, and who hears when it is not well. */
function contacts({ plan, notify }: PlanLook): Fact[] {
  if (notify === undefined) return [];
  const ofSteps = plan.steps.flatMap((step) => (step.type === 'notify' ? step.to : []));
  const names = [
    ...new Set([
      ...ofSteps,
      ...alertContacts({ owner: plan.metadata.owner, contacts: plan.contacts }, Object.keys(notify.contacts)),
    ]),
  ];
  const found = recipientsOf(names, plan.contacts, notify.contacts);
  const nobody = found.filter(({ channel }) => channel === 'none').map(({ address }) => address);
  const unmailed = notify.smtp === undefined ? found.filter(({ channel }) => channel === 'email') : [];
  const facts: Fact[] = [];
  const mend = 'Mend contacts in the plan, or notify.contacts in the settings of the controller.';
  if (names.length === 0) facts.push(warning('contacts', 'nobody would be told', mend));
  if (nobody.length > 0) facts.push(warning('contacts', `nobody is behind ${nobody.join(', ')}`, mend));
  if (unmailed.length > 0) {
    const who = unmailed.map(({ address }) => address).join(', ');
    facts.push(
      warning(
        'contacts',
        `no mail goes to ${who}: there is no mail server`,
        'Set notify.smtp in the settings of the controller.',
      ),
    );
  }
  return facts.length > 0 ? facts : [ok('contacts', `${found.length} can be told`)];
}

function objectives({ plan }: PlanLook, { rtoMs, assumed }: Forecast): Fact[] {
  const { rto } = plan.objectives;
  if (rtoMs === undefined) return [];
  const message = `a failover would take ${spanText(rtoMs)}, of ${durationText(rto)} promised`;
  if (rtoMs > rto)
    return [
      warning(
        'rto',
        message,
        `Which steps take it: holdfast plan graph ${plan.metadata.name}; then objectives.rto, or a warm standby`,
      ),
    ];
  return [ok('rto', assumed.length === 0 ? message : `${message}; assumed: ${assumed.join(', ')}`)];
}

function drills({ plan, runs }: PlanLook, { lastAt, overdueMs }: DrillState): Fact[] {
  const remedy = `holdfast plan run ${plan.metadata.name} --mode drill`;
  const last = runs.find((run) => run.mode === 'drill');
  if (last !== undefined && last.state !== 'done' && last.state !== 'cancelled')
    return [warning('drill', `the last one ended ${last.state}`, remedy)];
  if (overdueMs > 0) return [warning('drill', `it is overdue for ${spanText(overdueMs)}`, remedy)];
  if (lastAt === undefined) return [warning('drill', 'there was none yet: nobody has seen this plan work', remedy)];
  return [ok('drill', `the plan was last shown to work at ${timeText(lastAt)}`)];
}

function ok(subject: string, message: string): Fact {
  return { level: 'ok', subject, message, remedy: '' };
}

function warning(subject: string, message: string, remedy: string): Fact {
  return { level: 'warning', subject, message, remedy };
}

function error(subject: string, message: string, remedy: string): Fact {
  return { level: 'error', subject, message, remedy };
}

function timeText(at: Date): string {
  return at.toISOString().replace('T', ' ').slice(0, 16).concat(' UTC');
}

/** "4 s", "12 min", "3 h", "9 d". */
export function spanText(ms: number): string {
  const seconds = Math.round(ms / 1000);
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 120 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}
