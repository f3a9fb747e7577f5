// A service address on a device of this host, and its neighbours told about it.
//
// Hazards: taking an address that another host still has makes both unreachable; the lifetime of an address that follows the lease ends with
// the lease (failover/service-addresses.ts), so an address that is there already is never touched here.
//
// Tested in traffic-address.test.ts, in a network namespace.

import { readFileSync } from 'node:fs';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { readServiceAddress, type ServiceIp } from '@holdfast/shared/recovery/service-address';
import { sleep } from '@holdfast/shared/runtime/clock';
import { addressAnswers, announceAddress } from '../../os/neighbours.ts';
import { lifetimeWords } from '../failover/service-addresses.ts';
import type { StepContext } from './step-type.ts';
import { toolPath } from './tool-path.ts';
import type { TrafficWay } from './traffic-way.ts';

/** For somebody who has the address to say so; it is asked for every 500 ms. */
const PROBE_MS = 600;
const ANNOUNCEMENTS = 3;
const BETWEEN_ANNOUNCEMENTS_MS = 100;
/** For an address that comes with the lease. */
const LEASED_WITHIN_MS = 10_000;
/** Of duplicate address detection: about a second for each question that the host asks, which is one unless it is told. */
const SETTLED_WITHIN_MS = 10_000;
const POLL_MS = 100;

/** @param given IP or IP/PREFIX */
export function addressWay(given: string, device: string): TrafficWay {
  const address = parseAddress(given);
  const { ip, prefixed } = address;
  const memory = `address ${ip} ${device}`;
  return {
    async precheck(context) {
      const { neighbours } = await deviceOf(device, address, context);
      if ((await stateOf(ip, device, context)) === 'there') {
        return { well: true, message: `${ip} is on ${device} already` };
      }
      if (!neighbours || !(await addressAnswers(device, ip, PROBE_MS, context.clock))) {
        return { well: true, message: `${device} is there, and nobody on its network has ${ip}` };
      }
      // It is the present primary's, until the run has fenced it.
      return { well: true, message: `${device} is there; another host on its network has ${ip} now` };
    },

    async look(context) {
      const state = await stateOf(ip, device, context);
      const well = state === 'there';
      return { well, message: `${ip} is ${state === 'absent' ? 'not ' : well ? '' : 'not usable yet '}on ${device}` };
    },

    async apply(context) {
      const { neighbours } = await deviceOf(device, address, context);
      const there = await settled(ip, device, context);
      if (!there && context.order.resolved.leased === true) await comesWithLease(ip, device, context);
      else if (!there) {
        if (neighbours && (await addressAnswers(device, ip, PROBE_MS, context.clock))) throw stillTaken(address);
        context.remember({ [memory]: 'added' });
        await changeAddress(['replace', prefixed, 'dev', device, ...lifetimeWords(address.family, 'forever')], context);
      }
      if (neighbours) await announce(ip, device, context);
      return `${ip} is on ${device}${there ? ' already' : ''}${neighbours ? ', and its network was told' : ''}`;
    },

    async undo(context) {
      if (context.memory()[memory] !== 'added') return `${ip} was not added to ${device} by this step`;
      if ((await stateOf(ip, device, context)) !== 'absent') {
        await changeAddress(['del', prefixed, 'dev', device], context);
      }
      context.remember({ [memory]: '' });
      return `${ip} is no longer on ${device}`;
    },
  };
}

/** Throws INVALID_ARGUMENT. */
export function parseAddress(given: string): ServiceIp {
  const read = readServiceAddress(given);
  if (typeof read !== 'string') return read;
  throw new HoldfastError('INVALID_ARGUMENT', `${given} is no service address: ${read}`);
}

interface Device {
  /** It has neighbours, that are to be asked and told. */
  readonly neighbours: boolean;
}

/** Throws FAILED_PRECONDITION for a device that is not there, is down, or takes no such address. */
async function deviceOf(device: string, { family }: ServiceIp, context: StepContext): Promise<Device> {
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
  if (family === 6 && hasNoIpv6(device)) {
    throw new HoldfastError('FAILED_PRECONDITION', `IPv6 is switched off on ${device}`, {
      hint: `On the host: sysctl net.ipv6.conf.${device}.disable_ipv6=0`,
    });
  }
  return { neighbours: !flags.includes('NOARP') && !flags.includes('LOOPBACK') };
}

function hasNoIpv6(device: string): boolean {
  try {
    return readFileSync(`/proc/sys/net/ipv6/conf/${device}/disable_ipv6`, 'latin1').trim() !== '0';
  } catch {
    // A kernel without IPv6 has no such file.
    return true;
  }
}

/** `tentative`: it answers nobody until the kernel has made sure that no other host has it. `refused`: another host does. */
type State = 'absent' | 'tentative' | 'refused' | 'there';

async function stateOf(ip: string, device: string, context: StepContext): Promise<State> {
  const found = await askIp(['address', 'show', 'dev', device, 'to', ip], context);
  const addresses = found.flatMap((link): unknown[] => {
    const held: unknown = Reflect.get(link, 'addr_info');
    return Array.isArray(held) ? held : [];
  });
  const states = addresses.map((one): State => {
    if (typeof one !== 'object' || one === null || !Reflect.has(one, 'local')) return 'absent';
    if (Reflect.get(one, 'dadfailed') === true) return 'refused';
    return Reflect.get(one, 'tentative') === true ? 'tentative' : 'there';
  });
  return (['there', 'tentative', 'refused'] as const).find((state) => states.includes(state)) ?? 'absent';
}

/** Whether it is there, once the kernel has decided about one that somebody else added. Throws FAILED_PRECONDITION. */
async function settled(ip: string, device: string, context: StepContext): Promise<boolean> {
  const { clock, signal } = context;
  const until = clock.monotonicMs() + SETTLED_WITHIN_MS;
  for (;;) {
    const state = await stateOf(ip, device, context);
    if (state === 'there' || state === 'absent') return state === 'there';
    if (state === 'refused') {
      throw new HoldfastError('FAILED_PRECONDITION', `${device} has ${ip}, and may not use it: another host had it`, {
        hint: `Switch that host off, or take the address off it; then, here: ip address del ${ip} dev ${device}, and retry.`,
      });
    }
    if (clock.monotonicMs() >= until) {
      throw new HoldfastError('FAILED_PRECONDITION', `${ip} is on ${device}, but still tentative`, {
        hint: 'See "ip address" on the host: it answers nobody until the kernel has made sure that it is alone with it.',
      });
    }
    await sleep(clock, POLL_MS, signal);
    if (signal.aborted) throw new HoldfastError('CANCELLED', `${ip} was waited for`);
  }
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

async function changeAddress(words: readonly string[], context: StepContext): Promise<void> {
  const ending = await context.run([ipProgram(), 'address', ...words]);
  if (ending.kind === 'exited' && ending.code === 0) return;
  const how = ending.kind === 'exited' ? `ended with exit code ${ending.code}` : 'was ended by something else';
  throw new HoldfastError('FAILED_PRECONDITION', `ip address ${words.join(' ')} ${how}`);
}

/** Whoever serves holds it: failover adds it, and reaps it. Throws FAILED_PRECONDITION, CANCELLED. */
async function comesWithLease(ip: string, device: string, context: StepContext): Promise<void> {
  const { clock, signal } = context;
  const until = clock.monotonicMs() + LEASED_WITHIN_MS;
  while (clock.monotonicMs() < until && !signal.aborted) {
    await sleep(clock, POLL_MS, signal);
    if ((await stateOf(ip, device, context)) === 'there') return;
  }
  if (signal.aborted) throw new HoldfastError('CANCELLED', `${ip} was waited for`);
  throw new HoldfastError('FAILED_PRECONDITION', `${ip} comes with the right to serve, which this host does not hold`, {
    hint: 'See "holdfast plan show" for who serves.',
  });
}

/** More than once: a switch may lose one, or still be learning. */
async function announce(ip: string, device: string, { clock, signal }: StepContext): Promise<void> {
  for (let times = 0; times < ANNOUNCEMENTS; times++) {
    if (times > 0) await sleep(clock, BETWEEN_ANNOUNCEMENTS_MS, signal);
    announceAddress(device, ip);
  }
}

function stillTaken({ family, ip }: ServiceIp): HoldfastError {
  const finder = family === 4 ? `arping ${ip}` : `ping ${ip}; ip -6 neighbour show ${ip}`;
  return new HoldfastError('FAILED_PRECONDITION', `another host on this network still answers for ${ip}`, {
    hint: `Find it (${finder}), take the address off it or switch it off, then retry.`,
  });
}

function ipProgram(): string {
  return toolPath('ip', 'Install it: apt-get install iproute2');
}
