// `traffic`: clients come to this host from now on, by every way of the step's `via`, in their order.
//
// Taking it back goes through them in reverse, and takes back what the step did, not what it found.
//
// Tested in step-conformance.test.ts; the ways in traffic-address.test.ts, traffic-dns.test.ts and traffic-webhook.test.ts.

import { toHoldfastError } from '@holdfast/shared/base/errors';
import type { SpecOf, StepAnswer, StepContext, StepType } from './step-type.ts';
import { addressWay, parseAddress } from './traffic-address.ts';
import type { Finding, TrafficWay } from './traffic-way.ts';

type Spec = SpecOf<'traffic'>;

export const trafficStep: StepType<Spec> = {
  changes: true,

  async precheck(spec, context) {
    const found = await findings(spec, context, (way) => way.precheck(context));
    return { ...told(found), state: found.every(({ well }) => well) ? 'ok' : 'failed' };
  },

  async probe(spec, context) {
    const found: Finding[] = [];
    // What can't be looked at is not known: it is thrown.
    for (const way of await waysOf(spec, context)) found.push(await way.look(context));
    return { ...told(found), state: found.every(({ well }) => well) ? 'done' : 'not-done' };
  },

  async apply(spec, context) {
    const did: string[] = [];
    for (const way of await waysOf(spec, context)) did.push(await way.apply(context));
    return { state: 'ok', message: did.join('; '), facts: { 'switched-at-ms': String(context.clock.wallMs()) } };
  },

  async verify(spec, context) {
    const found = await findings(spec, context, (way) => way.look(context));
    return { ...told(found), state: found.every(({ well }) => well) ? 'ok' : 'failed' };
  },

  async undo(spec, context) {
    const did: string[] = [];
    for (const way of (await waysOf(spec, context)).toReversed()) did.push(await way.undo(context));
    return { state: 'ok', message: did.join('; ') };
  },
};

async function waysOf({ via }: Spec, { order }: StepContext): Promise<TrafficWay[]> {
  const addresses = via.flatMap((way) => ('address' in way ? [parseAddress(way.address.ip).ip] : []));
  const { bind } = order.resolved;
  const reached = addresses.length > 0 || bind === undefined ? addresses : [bind];
  return Promise.all(
    via.map(async (way, index) => {
      if ('address' in way) return addressWay(way.address.ip, way.address.dev);
      if ('dns' in way) {
        const { dnsWay } = await import('./traffic-dns.ts');
        return dnsWay(way.dns, way.dns.value === undefined ? reached : [way.dns.value]);
      }
      const { webhookWay } = await import('./traffic-webhook.ts');
      return webhookWay(way.webhook, index, reached);
    }),
  );
}

async function findings(
  spec: Spec,
  context: StepContext,
  look: (way: TrafficWay) => Promise<Finding>,
): Promise<Finding[]> {
  const found: Finding[] = [];
  for (const way of await waysOf(spec, context)) {
    try {
      found.push(await look(way));
    } catch (error) {
      const { code, message, hint } = toHoldfastError(error);
      if (code === 'CANCELLED' || code === 'INTERNAL') throw error;
      found.push({ well: false, message, remedy: hint });
    }
  }
  return found;
}

/** Of those that are not well; of all of them when all are. */
function told(found: readonly Finding[]): Omit<StepAnswer, 'state'> {
  const bad = found.filter(({ well }) => !well);
  const said = bad.length > 0 ? bad : found;
  const remedies = bad.map(({ remedy }) => remedy ?? '').filter((remedy) => remedy !== '');
  return { message: said.map(({ message }) => message).join('; '), remedy: remedies.join(' ') };
}
