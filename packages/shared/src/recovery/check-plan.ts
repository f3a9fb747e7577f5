// What a plan's fields mean together: order, names, variables, and what may never happen in which mode.
//
// Hazard: traffic that moves before the old primary is fenced makes two hosts serve; a drill that touches the primary is an outage.
//
// Invariants (plan.test.ts, check-plan.property.test.ts):
//   P1 in each mode the steps that run have an order; a step left out counts as done, so nothing is inherited through it;
//   P2 in a real run nothing starts or gets traffic before a fence;
//   P3 no drill reaches the primary, a fence or traffic.
//
// Pure. Hosts and sources are looked up against a fleet elsewhere.

import { didYouMean, nearNames } from '../base/near-names.ts';
import { parsePlan, type FieldPath, type Finding, type Plan } from './plan.ts';
import { urlsOf } from './protection.ts';
import { whyNotAhead } from './run-ahead.ts';
import { MODES, type Mode, type Step } from './step-types.ts';

type Report = (path: FieldPath, message: string) => void;

export interface CheckedPlan {
  /** Undefined when the document has no readable plan. */
  readonly plan: Plan | undefined;
  readonly findings: readonly Finding[];
}

/** All that can be known of a document without a fleet. */
export function checkPlan(source: string): CheckedPlan {
  const { plan, findings, findingAt } = parsePlan(source);
  if (plan === undefined) return { plan, findings };
  const found: Finding[] = [];
  const report: Report = (path, message) => void found.push(findingAt(path, message));
  checkNames(plan, report);
  checkVariables(plan, report);
  for (const mode of MODES) checkOrder(plan.steps, mode, report);
  checkSteps(plan, report);
  checkUrls(plan, report);
  if (plan.drill !== undefined && plan.drill.ttl >= (plan.objectives.drillEvery ?? Infinity)) {
    report(['drill', 'ttl'], 'a drill must be over before the next one is due (objectives.drillEvery)');
  }
  return { plan, findings: found };
}

function checkNames(plan: Plan, report: Report): void {
  const ids = new Set(plan.steps.map((step) => step.id));
  const seen = new Set<string>();
  plan.steps.forEach((step, index) => {
    if (seen.has(step.id)) report(['steps', index, 'id'], `there are two steps "${step.id}"`);
    seen.add(step.id);
    step.needs.forEach((need, at) => {
      if (!ids.has(need)) report(['steps', index, 'needs', at], unknown('step', need, ids));
    });
    if ('source' in step && !plan.sources.includes(step.source)) {
      report(['steps', index, 'source'], unknown('source', step.source, plan.sources));
    }
    if (step.type === 'snapshot') {
      step.sources.forEach((source, at) => {
        if (!plan.sources.includes(source))
          report(['steps', index, 'sources', at], unknown('source', source, plan.sources));
      });
    }
    const hosts = ['primary', 'standby', ...plan.placement.hosts];
    if ('host' in step && !hosts.includes(step.host))
      report(['steps', index, 'host'], unknown('host', step.host, hosts));
  });
  for (const host of Object.keys(plan.placement.vars)) {
    if (!plan.placement.hosts.includes(host))
      report(['placement', 'vars', host], unknown('host', host, plan.placement.hosts));
  }
  if (plan.placement.hosts[0] === plan.placement.hosts[1])
    report(['placement', 'hosts', 1], 'the standby is the primary');
  const { name, dependsOn } = plan.metadata;
  const self = dependsOn.indexOf(name);
  if (self >= 0) report(['metadata', 'dependsOn', self], "a plan can't depend on itself");
  const { witnesses } = plan.detect;
  if (witnesses !== undefined && witnesses.agree > witnesses.hosts.length) {
    report(['detect', 'witnesses', 'agree'], `there are only ${witnesses.hosts.length} witnesses`);
  }
}

function unknown(kind: string, typed: string, known: Iterable<string>): string {
  return `the plan has no ${kind} "${typed}". ${didYouMean(nearNames(typed, known))}`.trimEnd();
}

/** A variable must be set for both hosts: after a failover the other one is the primary. */
function checkVariables(plan: Plan, report: Report): void {
  const [first, second] = plan.placement.hosts.map((host) => Object.keys(plan.placement.vars[host] ?? {}));
  const both = (first ?? []).filter((key) => second?.includes(key));
  const known = ['recoveryPoint', ...both, ...both.map((key) => `primary.${key}`)];
  const visit = (value: unknown, path: FieldPath): void => {
    if (typeof value === 'string') {
      for (const [, variable = ''] of value.matchAll(/\$\{([^}]*)\}/g)) {
        if (!known.includes(variable)) report(path, unknown('variable (for both hosts)', variable, known));
      }
    } else if (typeof value === 'object' && value !== null) {
      for (const [key, held] of Object.entries(value)) {
        const next = [...path, Array.isArray(value) ? Number(key) : key];
        if (!Array.isArray(value)) visit(key, next);
        visit(held, next);
      }
    }
  };
  visit(plan.steps, ['steps']);
  visit(plan.services, ['services']);
  visit(plan.render, ['render']);
  visit(plan.detect, ['detect']);
}

/** P1 and P2. Kahn's algorithm; what is left over stands in a cycle or behind one. */
function checkOrder(steps: readonly Step[], mode: Mode, report: Report): void {
  const running = steps.filter((step) => step.in.includes(mode));
  const ids = new Set(running.map((step) => step.id));
  const fenced = new Map<string, boolean>();
  let waiting = running;
  for (;;) {
    const ready = waiting.filter((step) => step.needs.every((need) => !ids.has(need) || fenced.has(need)));
    if (ready.length === 0) break;
    for (const step of ready) {
      const after = step.needs.some((need) => fenced.get(need) === true);
      const serves = step.type === 'traffic' || (step.type === 'service.start' && step.host !== 'primary');
      if (serves && mode !== 'drill' && !after) {
        report(
          ['steps', steps.indexOf(step)],
          `"${step.id}" is not behind a fence in ${mode} runs: two hosts could serve`,
        );
      }
      fenced.set(step.id, after || step.type === 'fence');
    }
    waiting = waiting.filter((step) => !fenced.has(step.id));
  }
  if (waiting.length > 0) {
    const who = waiting.map((step) => step.id).join(', ');
    report(['steps', steps.indexOf(waiting[0]!), 'needs'], `in ${mode} runs these wait for each other: ${who}`);
  }
}

/** P3, and what runs ahead. */
function checkSteps(plan: Plan, report: Report): void {
  const ahead = new Map(plan.steps.map((step) => [step.id, step.ahead]));
  plan.steps.forEach((step, index) => {
    const onPrimary = 'host' in step && (step.host === 'primary' || step.host === plan.placement.hosts[0]);
    if (step.in.includes('drill') && (onPrimary || step.type === 'fence' || step.type === 'traffic')) {
      report(['steps', index], `"${step.id}" would touch production in a drill: leave drill out of its "in"`);
    }
    if (!step.ahead) return;
    const why = whyNotAhead(step, plan);
    if (why !== undefined) report(['steps', index, 'ahead'], why);
    step.needs.forEach((need, at) => {
      if (ahead.get(need) === false)
        report(['steps', index, 'needs', at], `"${step.id}" runs ahead, but "${need}" does not`);
    });
  });
}

/** What can't be asked never answers: a check fails only in the run, and a witness's word is that the primary is dead. */
function checkUrls(plan: Plan, report: Report): void {
  const look = (path: FieldPath, text: string, expected: string): void => {
    const wrong = urlsOf(plan, text).indexOf(null);
    if (wrong < 0) return;
    const brackets = 'An IPv6 address stands in brackets, without a zone: [fd00::1]';
    report(path, `with the variables of ${plan.placement.hosts[wrong]} it is not ${expected}. ${brackets}`);
  };
  plan.steps.forEach((step, index) => {
    if (step.type === 'check.http') look(['steps', index, 'url'], step.url, 'a URL');
    if (step.type === 'check.tcp') look(['steps', index, 'address'], `tcp://${step.address}`, 'HOST:PORT');
  });
  const { witnesses } = plan.detect;
  if (witnesses !== undefined) look(['detect', 'witnesses', 'probe'], witnesses.probe, 'a URL');
}
