// What of a plan's application only the host that serves may have: units, ports and service addresses. Derived in this one place.
//
// Hazard: a port or a unit that is forgotten here goes on taking writes on a host that lost its lease.
//
// Pure. Tested in protection.test.ts.

import type { ServiceAddress } from '../rpc/failover-wire.ts';
import type { Plan } from './plan.ts';
import { readServiceAddress } from './service-address.ts';
import type { Step } from './step-types.ts';

export interface Protection {
  /** In the order of starting. */
  readonly units: readonly string[];
  /** TCP and UDP, sorted. */
  readonly ports: readonly number[];
  readonly addresses: readonly ServiceAddress[];
}

/**
 * The plan's protected things. Units: those that its steps start on the standby, and those that its restores stop and start, in the order of
 * the steps. Ports: `ports`, or those of the URLs and addresses that are checked on the standby, of the service addresses' checks and of the
 * witnesses' probe.
 */
export function protectionOf(plan: Plan): Protection {
  const steps = inOrder(plan.steps).filter((step) => step.in.includes('unplanned') || step.in.includes('planned'));
  const [, second = ''] = plan.placement.hosts;
  const onStandby = (step: Step): boolean =>
    'host' in step && (step.host === 'standby' || step.host === second || step.host === '${standby}');
  const units = new Set<string>();
  const addresses = new Map<string, ServiceAddress>();
  for (const step of steps) {
    if (step.type === 'service.start' && onStandby(step)) for (const unit of step.units) units.add(unit);
    if ('unit' in step && step.unit !== undefined && onStandby(step)) units.add(step.unit);
    if (step.type !== 'traffic') continue;
    for (const via of step.via) {
      const read = 'address' in via ? readServiceAddress(via.address.ip) : '';
      if ('address' in via && typeof read !== 'string') {
        addresses.set(read.ip, { ip: read.prefixed, device: via.address.dev });
      }
    }
  }
  return { units: [...units], ports: portsOf(plan, steps, onStandby), addresses: [...addresses.values()] };
}

/** Where a server of an engine listens unless it is told. */
const ENGINE_PORTS: Partial<Record<Step['type'], number>> = {
  'restore.postgres': 5432,
  'restore.mariadb': 3306,
  'restore.redis': 6379,
};

/**
 * Restored servers whose port the plan does not gate. Over a socket, or an ungated port, an application that was paused together with its database
 * hands over what lay in its buffers once both go on, and the database takes it beside its successor.
 */
export function ungatedServers(plan: Plan): { readonly step: string; readonly port: number }[] {
  const { ports } = protectionOf(plan);
  return plan.steps.flatMap((step) => {
    const usual = ENGINE_PORTS[step.type];
    if (usual === undefined || step.in.every((mode) => mode === 'drill')) return [];
    const port = ('port' in step ? step.port : undefined) ?? usual;
    return ports.includes(port) ? [] : [{ step: step.id, port }];
  });
}

function portsOf(plan: Plan, steps: readonly Step[], onStandby: (step: Step) => boolean): number[] {
  const ports = new Set<number>(plan.ports ?? []);
  if (plan.ports === undefined) {
    for (const step of steps) {
      if (step.type === 'check.http' && (onStandby(step) || step.from !== undefined)) addPorts(ports, plan, step.url);
      if (step.type === 'check.tcp' && onStandby(step)) addPorts(ports, plan, `tcp://${step.address}`);
    }
    if (plan.detect.witnesses !== undefined) addPorts(ports, plan, plan.detect.witnesses.probe);
  }
  return [...ports].toSorted((one, other) => one - other);
}

/** Of both hosts: a variable may hold the port, too. One that neither has says nothing about it. */
function addPorts(ports: Set<number>, plan: Plan, text: string): void {
  for (const url of urlsOf(plan, text)) {
    if (url === null) continue;
    const usual = url.protocol === 'https:' ? 443 : url.protocol === 'http:' ? 80 : 0;
    const port = url.port !== '' ? Number(url.port) : usual;
    if (port > 0) ports.add(port);
  }
}

/** What a URL of the plan is with the variables of each host; null: none. */
export function urlsOf(plan: Plan, text: string): (URL | null)[] {
  return plan.placement.hosts.map((host) => {
    const vars = plan.placement.vars[host] ?? {};
    const whole = text.replaceAll(/\$\{(?:primary\.)?([^}]*)\}/g, (_, name: string) => vars[name] ?? 'variable');
    return URL.parse(whole.replace('[variable]', 'variable'));
  });
}

/** Each after what it needs, otherwise as they are written. */
function inOrder(steps: readonly Step[]): Step[] {
  const byId = new Map(steps.map((step) => [step.id, step]));
  const done = new Set<string>();
  const ordered: Step[] = [];
  const visit = (step: Step): void => {
    if (done.has(step.id)) return;
    done.add(step.id);
    for (const needed of step.needs) {
      const before = byId.get(needed);
      if (before !== undefined) visit(before);
    }
    ordered.push(step);
  };
  for (const step of steps) visit(step);
  return ordered;
}
