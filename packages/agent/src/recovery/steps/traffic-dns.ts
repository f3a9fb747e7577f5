// A name that stands for other addresses from now on, by a dynamic update of its zone.
//
// Hazard: undoing what somebody else changed meanwhile. So what the name stood for is remembered before the first change, and put back only
// where the name still stands for what this step made of it.
//
// Tested in traffic-dns.test.ts, against BIND.

import { isIP } from 'node:net';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { canonicalAddress } from '@holdfast/shared/recovery/service-address';
import {
  findPrimary,
  lookUp,
  placeOf,
  replaceAddresses,
  zoneAt,
  type Address,
  type Addresses,
  type NameServer,
} from './dns/name-server.ts';
import { canonicalName } from './dns/names.ts';
import { parseTsigKey } from './dns/tsig.ts';
import { hostAndPort } from './looks/tcp-look.ts';
import type { StepContext } from './step-type.ts';
import type { TrafficWay } from './traffic-way.ts';

export interface DnsWay {
  readonly name: string;
  /** Seconds. */
  readonly ttl: number;
  readonly server?: string | undefined;
  readonly zone?: string | undefined;
  /** The name of the secret. */
  readonly key?: string | undefined;
}

const DNS_PORT = 53;

/** @param values what the name is to stand for */
export function dnsWay(way: DnsWay, values: readonly string[]): TrafficWay {
  const name = canonicalName(way.name);
  const wanted = wantedOf(name, values, way.ttl);
  const memory = `dns ${name}`;
  const list = (addresses: readonly Address[]): string =>
    addresses.length === 0 ? 'nothing' : addresses.map(({ address }) => address).join(', ');
  return {
    async precheck(context) {
      const { server, zone } = await placeFor(way, name, context);
      const now = await stands(server, name, context);
      return { well: true, message: `${name} in ${zone} at ${placeOf(server)} stands for ${list(now.addresses)} now` };
    },

    async look(context) {
      const { server } = await placeFor(way, name, context);
      const { addresses } = await lookUp(server, name, context.signal);
      return { well: same(addresses, wanted), message: `${name} stands for ${list(addresses)}` };
    },

    async apply(context) {
      const { server, zone } = await placeFor(way, name, context);
      const { addresses } = await stands(server, name, context);
      const isDone = same(addresses, wanted) && addresses.every(({ ttl }) => ttl === way.ttl);
      if (isDone) return `${name} stands for ${list(wanted)} already`;
      if ((context.memory()[memory] ?? '') === '') context.remember({ [memory]: JSON.stringify(addresses) });
      await replaceAddresses(server, zone, name, wanted, context.signal);
      return `${name} stands for ${list(wanted)}`;
    },

    async undo(context) {
      const remembered = context.memory()[memory] ?? '';
      if (remembered === '') return `${name} was not changed by this step`;
      const before: readonly Address[] = JSON.parse(remembered);
      const { server, zone } = await placeFor(way, name, context);
      const { addresses } = await lookUp(server, name, context.signal);
      const isOurs = same(addresses, wanted);
      if (isOurs) await replaceAddresses(server, zone, name, before, context.signal);
      context.remember({ [memory]: '' });
      if (!isOurs) return `${name} stands for ${list(addresses)}, which this step did not make, and was left so`;
      return `${name} stands for ${list(before)} again`;
    },
  };
}

/** Throws INVALID_ARGUMENT. */
function wantedOf(name: string, values: readonly string[], ttl: number): Address[] {
  const wrong = values.find((value) => isIP(value) === 0 || value.includes('%'));
  if (values.length === 0 || wrong !== undefined) {
    const what = wrong === undefined ? 'nothing says' : `${wrong} is no IP address, and so does not say`;
    throw new HoldfastError('INVALID_ARGUMENT', `${what} what ${name} is to stand for`, {
      hint: 'Give it in the plan: dns: {value: ADDRESS}, an address of the step, or the variable bind of the host.',
    });
  }
  return [...new Set(values.map(canonicalAddress))].map((address) => ({ address, ttl }));
}

/** Throws FAILED_PRECONDITION for an alias, whose addresses are not its own. */
async function stands(server: NameServer, name: string, { signal }: StepContext): Promise<Addresses> {
  const found = await lookUp(server, name, signal);
  if (!found.isAlias) return found;
  throw new HoldfastError('FAILED_PRECONDITION', `${name} is an alias (CNAME) of another name`, {
    hint: 'Let the plan change the name that it stands for, or make it a name with addresses.',
  });
}

async function placeFor(
  way: DnsWay,
  name: string,
  { order, clock, signal }: StepContext,
): Promise<{ server: NameServer; zone: string }> {
  if (order.sandbox !== '') throw new HoldfastError('FAILED_PRECONDITION', 'no traffic is moved in a drill');
  const secret = way.key === undefined ? undefined : order.secrets.get(way.key);
  if (way.key !== undefined && secret === undefined) {
    throw new HoldfastError('FAILED_PRECONDITION', `the secret ${way.key} has no value`, {
      hint: `holdfast plan secret set ${way.key}`,
    });
  }
  const key = secret === undefined ? undefined : parseTsigKey(secret, way.key ?? '');
  const zone = way.zone === undefined ? undefined : canonicalName(way.zone);
  if (way.server === undefined) {
    const found = await findPrimary(name, zone);
    return { server: { host: found.host, port: DNS_PORT, key, clock }, zone: found.zone };
  }
  const place = isIP(way.server) === 0 ? hostAndPort(way.server) : undefined;
  const server = { ...(place ?? { host: way.server, port: DNS_PORT }), key, clock };
  return { server, zone: zone ?? (await zoneAt(server, name, signal)) };
}

function same(one: readonly Address[], other: readonly Address[]): boolean {
  const sorted = (addresses: readonly Address[]): string =>
    addresses
      .map(({ address }) => address)
      .toSorted()
      .join(' ');
  return sorted(one) === sorted(other);
}
