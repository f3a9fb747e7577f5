// A service address on a device of this host, and its neighbours told about it.
//
// Hazards: taking an address that another host still has makes both unreachable; the lifetime of an address that follows the lease ends with
// the lease (failover/service-addresses.ts), so an address that is there already is never touched here.
//
// Tested in traffic-address.test.ts, in a network namespace.

import { isIP, isIPv4 } from 'node:net';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { sleep } from '@holdfast/shared/runtime/clock';
import { addressAnswers, announceAddress } from '../../os/arp.ts';
import type { StepContext } from './step-type.ts';
import { toolPath } from './tool-path.ts';
import type { TrafficWay } from './traffic-way.ts';

/** For somebody who has the address to say so; it is asked for every 500 ms. */
const PROBE_MS = 600;
const ANNOUNCEMENTS = 3;
const BETWEEN_ANNOUNCEMENTS_MS = 100;
/** For an address that comes with the lease. */
const LEASED_WITHIN_MS = 10_000;
const POLL_MS = 100;

/** @param given IP or IP/PREFIX */
export function addressWay(given: string, device: string): TrafficWay {
  const { ip, prefixed } = parseAddress(given);
  const memory = `address ${ip} ${device}`;
  return {
    async precheck(context) {
      const { arp } = await deviceOf(device, context);
      if (await isThere(ip, device, context)) return { well: true, message: `${ip} is on ${device} already` };
      if (!arp || !isIPv4(ip) || !(await addressAnswers(device, ip, PROBE_MS, context.clock))) {
        return { well: true, message: `${device} is there, and nobody on its network has ${ip}` };
      }
      // It is the present primary's, until the run has fenced it.
      return { well: true, message: `${device} is there; another host on its network has ${ip} now` };
    },

    async look(context) {
      const well = await isThere(ip, device, context);
      return { well, message: `${ip} is ${well ? '' : 'not '}on ${device}` };
    },

    async apply(context) {
      const { arp } = await deviceOf(device, context);
      const there = await isThere(ip, device, context);
      if (!there && context.order.resolved.leased === true) await comesWithLease(ip, device, context);
      else if (!there) {
        if (arp && isIPv4(ip) && (await addressAnswers(device, ip, PROBE_MS, context.clock))) throw stillTaken(ip);
        context.remember({ [memory]: 'added' });
        await changeAddress('replace', prefixed, device, context);
      }
      if (arp) await announce(ip, device, context);
      return `${ip} is on ${device}${there ? ' already' : ''}${arp ? ', and its network was told' : ''}`;
    },

    async undo(context) {
      if (context.memory()[memory] !== 'added') return `${ip} was not added to ${device} by this step`;
      if (await isThere(ip, device, context)) await changeAddress('del', prefixed, device, context);
      context.remember({ [memory]: '' });
      return `${ip} is no longer on ${device}`;
    },
  };
}

/** Throws INVALID_ARGUMENT. */
export function parseAddress(given: string): { ip: string; prefixed: string } {
  const [ip = '', prefix, ...rest] = given.split('/');
  const family = isIP(ip);
  const most = family === 4 ? 32 : 128;
  const bits = prefix === undefined ? most : /^\d{1,3}$/.test(prefix) ? Number(prefix) : Infinity;
  if (family === 0 || rest.length > 0 || bits > most) {
    throw new HoldfastError('INVALID_ARGUMENT', `${given} is no IP address`, { hint: 'Write it as 10.77.0.100/24.' });
  }
  return { ip, prefixed: `${ip}/${bits}` };
}

interface Device {
  readonly arp: boolean;
}

/** Throws FAILED_PRECONDITION for a device that is not there, or is down. */
async function deviceOf(device: string, context: StepContext): Promise<Device> {
  if (context.order.sandbox !== '') {
    throw new HoldfastError('FAILED_PRECONDITION', 'no traffic is moved in a drill');
  }
  const found = await askIp(['link', 'show', 'dev', device], context);
  const [link] = found;
  const flags: unknown = link === undefined ? undefined : Reflect.get(link, 'flags');
  if (!Array.isArray(flags)) {
    throw new HoldfastError('FAILED_PRECONDITION', `this host has no network device ${device}`, {
      hint: 'See "ip link" on the host, and write its name into the plan.',
    });
  }
  if (!flags.includes('UP')) {
    throw new HoldfastError('FAILED_PRECONDITION', `the network device ${device} is down`, {
      hint: `On the host: ip link set ${device} up`,
    });
  }
  return { arp: !flags.includes('NOARP') && !flags.includes('LOOPBACK') };
}

async function isThere(ip: string, device: string, context: StepContext): Promise<boolean> {
  const found = await askIp(['address', 'show', 'dev', device, 'to', ip], context);
  return found.some((link) => {
    const addresses: unknown = Reflect.get(link, 'addr_info');
    if (!Array.isArray(addresses)) return false;
    // An IPv6 address that somebody else has already stays unusable.
    return addresses.some((one: object) => Reflect.has(one, 'local') && Reflect.get(one, 'dadfailed') !== true);
  });
}

/** No answer of it is longer than what is kept of a program's output: one device, or one address of it. */
async function askIp(words: readonly string[], context: StepContext): Promise<object[]> {
  const { ok, problem, output } = await context.ask([ipProgram(), '-json', ...words]);
  if (!ok && output.includes('does not exist')) return [];
  if (!ok) throw new HoldfastError('FAILED_PRECONDITION', `${problem}: ${output.trim().slice(0, 500)}`);
  const answer: unknown = output.trim() === '' ? [] : JSON.parse(output);
  return Array.isArray(answer)
    ? answer.filter((link): link is object => typeof link === 'object' && link !== null)
    : [];
}

async function changeAddress(
  what: 'replace' | 'del',
  prefixed: string,
  device: string,
  context: StepContext,
): Promise<void> {
  const ending = await context.run([ipProgram(), 'address', what, prefixed, 'dev', device]);
  if (ending.kind === 'exited' && ending.code === 0) return;
  const how = ending.kind === 'exited' ? `ended with exit code ${ending.code}` : 'was ended by something else';
  throw new HoldfastError('FAILED_PRECONDITION', `ip address ${what} ${prefixed} dev ${device} ${how}`);
}

/** Whoever serves holds it: failover adds it, and reaps it. Throws FAILED_PRECONDITION, CANCELLED. */
async function comesWithLease(ip: string, device: string, context: StepContext): Promise<void> {
  const { clock, signal } = context;
  const until = clock.monotonicMs() + LEASED_WITHIN_MS;
  while (clock.monotonicMs() < until && !signal.aborted) {
    await sleep(clock, POLL_MS, signal);
    if (await isThere(ip, device, context)) return;
  }
  if (signal.aborted) throw new HoldfastError('CANCELLED', `${ip} was waited for`);
  throw new HoldfastError('FAILED_PRECONDITION', `${ip} comes with the right to serve, which this host does not hold`, {
    hint: 'See "holdfast plan show" for who serves.',
  });
}

/** More than once: a switch may lose one, or still be learning. */
async function announce(ip: string, device: string, { clock, signal }: StepContext): Promise<void> {
  if (!isIPv4(ip)) return;
  for (let times = 0; times < ANNOUNCEMENTS; times++) {
    if (times > 0) await sleep(clock, BETWEEN_ANNOUNCEMENTS_MS, signal);
    announceAddress(device, ip);
  }
}

function stillTaken(ip: string): HoldfastError {
  return new HoldfastError('FAILED_PRECONDITION', `another host on this network still answers for ${ip}`, {
    hint: `Find it (arping ${ip}), take the address off it or switch it off, then retry.`,
  });
}

function ipProgram(): string {
  return toolPath('ip', 'Install it: apt-get install iproute2');
}
