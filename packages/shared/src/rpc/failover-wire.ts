// What hosts and controllers say about who serves, on the wire: one translation for the control stream and for peers.
//
// Hazard: an epoch or an id that no correct peer sends would go to disk and bind for ever. Every number is one that a JS number holds, every
// text has a bound, and what is missing is refused, never read as nothing.
//
// Tested in failover-wire.test.ts.

import { isIP } from 'node:net';
import { bounded, exact, violation } from '../format/log-codec.ts';
import type { CommandNumbers, FailoverMessage, Grant, HostReport, Renew } from '../failover/messages.ts';
import {
  FailoverMessage as WireMessage,
  type ApplicationSpec as WireSpec,
  type HostReport as WireReport,
  type OrderNumbers,
} from './gen/holdfast/v1/failover.ts';

/** What a host is told about an application that it is part of. */
export interface ApplicationSpec {
  /** The plan's id. */
  readonly id: string;
  readonly plan: string;
  readonly revision: number;
  readonly mode: 'manual' | 'approve' | 'automatic';
  /** Ids, as the catalog believes. */
  readonly primaryHost: string;
  readonly standbyHost: string;
  readonly epoch: number;
  /** The catalog's identity. */
  readonly catalog: string;
  /** Where the other host's agent answers. */
  readonly peerAddresses: readonly string[];
  readonly addresses: readonly ServiceAddress[];
  /** TCP. */
  readonly ports: readonly number[];
  /** In the order of starting. */
  readonly units: readonly string[];
  /** The plan's own services: JSON, as decodeServices reads it. */
  readonly services: Uint8Array;
  readonly renewMs: number;
  readonly leaseMs: number;
  readonly marginMs: number;
  readonly suspectAfterMs: number;
  readonly outOfReachMs: number;
  readonly bootAskMs: number;
  /** Absolute; empty: none. */
  readonly fenceScript: string;
}

export interface ServiceAddress {
  /** With the length of its prefix. */
  readonly ip: string;
  readonly device: string;
}

const ID_MAX = 128;
const NAME_MAX = 200;
const ADDRESSES_MAX = 16;
const LIST_MAX = 256;
const SERVICES_MAX_BYTES = 256 * 1024;
const DURATION_MAX_MS = 30 * 86_400_000;

type Kind = NonNullable<WireMessage['kind']>;

/** Throws PROTOCOL_VIOLATION for what no correct peer sends. */
export function failoverFromWire(wire: WireMessage): {
  readonly application: string;
  readonly message: FailoverMessage;
} {
  if (wire.kind === undefined)
    throw violation('a word about an application that is not known here; update this program');
  return { application: id(wire.application), message: messageFromWire(wire.kind) };
}

function messageFromWire(kind: Kind): FailoverMessage {
  switch (kind.$case) {
    case 'renew': {
      const { host, epoch, slot, sees, ended, report } = kind.value;
      if (sees.length > 8) throw violation('a renewal that sees too many');
      return {
        kind: 'renew',
        host: id(host),
        epoch: exact(epoch),
        slot: exact(slot),
        sees: sees.map(id),
        ended: exact(ended),
        report: reportFromWire(report),
      } satisfies Renew;
    }
    case 'grant': {
      const { granter, host, epoch, slot, standing, ends } = kind.value;
      return {
        kind: 'grant',
        granter: id(granter),
        host: id(host),
        epoch: exact(epoch),
        slot: exact(slot),
        ...(standing === undefined ? {} : { standing: exact(standing) }),
        ...(ends === undefined ? {} : { ends: exact(ends) }),
      } satisfies Grant;
    }
    case 'stop':
      return { kind: 'stop', epoch: exact(kind.value.epoch) };
    case 'stopped':
      return { kind: 'stopped', host: id(kind.value.host), epoch: exact(kind.value.epoch) };
    case 'status': {
      const { report, seesPrimary, withdrawn } = kind.value;
      return { kind: 'status', report: reportFromWire(report), seesPrimary, withdrawn };
    }
    case 'beat':
      return { kind: 'beat' };
    case 'inquire':
      return { kind: 'inquire', catalog: id(kind.value.catalog) };
    case 'withdraw':
      return { kind: 'withdraw', ...numbersFromWire(kind.value.numbers) };
    case 'resume':
      return { kind: 'resume', ...numbersFromWire(kind.value.numbers) };
    case 'promote': {
      const { numbers, standing, fenceConfirmed } = kind.value;
      return { kind: 'promote', ...numbersFromWire(numbers), standing: exact(standing), fenceConfirmed };
    }
    case 'promoted':
      return { kind: 'promoted', host: id(kind.value.host), epoch: exact(kind.value.epoch) };
    case 'refused':
      return { kind: 'refused', attempt: exact(kind.value.attempt) };
    default:
      return questionFromWire(kind);
  }
}

type Question = Extract<Kind, { $case: 'probe' | 'probeAnswer' | 'boot' | 'bootAnswer' | 'fence' | 'fenceResult' }>;

function questionFromWire(kind: Question): FailoverMessage {
  switch (kind.$case) {
    case 'probe': {
      const { round, host, url, peerAddresses, withinMs } = kind.value;
      const where = { url: bounded(url, 4096), peerAddresses: peers(peerAddresses), withinMs: duration(withinMs) };
      return { kind: 'probe', round: exact(round), host: id(host), ...where };
    }
    case 'probeAnswer': {
      const { witness, round, answered, sawJustNow } = kind.value;
      return { kind: 'probe-answer', witness: id(witness), round: exact(round), answered, sawJustNow };
    }
    case 'boot':
      return { kind: 'boot', host: id(kind.value.host) };
    case 'bootAnswer':
      return { kind: 'boot-answer', highestEpoch: exact(kind.value.highestEpoch) };
    case 'fence':
      return { kind: 'fence', host: bounded(kind.value.host, NAME_MAX), attempt: exact(kind.value.attempt) };
    default:
      return { kind: 'fence-result', attempt: exact(kind.value.attempt), confirmed: kind.value.confirmed };
  }
}

export function failoverToWire(application: string, message: FailoverMessage): WireMessage {
  return { application, kind: messageToWire(message) };
}

function messageToWire(message: FailoverMessage): Kind {
  switch (message.kind) {
    case 'renew': {
      const { host, epoch, slot, sees, ended, report } = message;
      return {
        $case: 'renew',
        value: { host, epoch: n(epoch), slot: n(slot), sees: [...sees], ended: n(ended), report: reportToWire(report) },
      };
    }
    case 'grant': {
      const { granter, host, epoch, slot, standing, ends } = message;
      return {
        $case: 'grant',
        value: {
          granter,
          host,
          epoch: n(epoch),
          slot: n(slot),
          ...(standing === undefined ? {} : { standing: n(standing) }),
          ...(ends === undefined ? {} : { ends: n(ends) }),
        },
      };
    }
    case 'stop':
      return { $case: 'stop', value: { epoch: n(message.epoch) } };
    case 'stopped':
      return { $case: 'stopped', value: { host: message.host, epoch: n(message.epoch) } };
    case 'status': {
      const { report, seesPrimary, withdrawn } = message;
      return { $case: 'status', value: { report: reportToWire(report), seesPrimary, withdrawn } };
    }
    case 'beat':
      return { $case: 'beat', value: {} };
    case 'inquire':
      return { $case: 'inquire', value: { catalog: message.catalog } };
    case 'withdraw':
      return { $case: 'withdraw', value: { numbers: numbersToWire(message) } };
    case 'resume':
      return { $case: 'resume', value: { numbers: numbersToWire(message) } };
    case 'promote': {
      const { standing, fenceConfirmed } = message;
      return { $case: 'promote', value: { numbers: numbersToWire(message), standing: n(standing), fenceConfirmed } };
    }
    case 'promoted':
      return { $case: 'promoted', value: { host: message.host, epoch: n(message.epoch) } };
    case 'refused':
      return { $case: 'refused', value: { attempt: n(message.attempt) } };
    default:
      return questionToWire(message);
  }
}

type QuestionMessage = Extract<
  FailoverMessage,
  { kind: 'probe' | 'probe-answer' | 'boot' | 'boot-answer' | 'fence' | 'fence-result' }
>;

function questionToWire(message: QuestionMessage): Kind {
  switch (message.kind) {
    case 'probe': {
      const { round, host, url, peerAddresses, withinMs } = message;
      const value = { round: n(round), host, url, peerAddresses: [...peerAddresses], withinMs: n(withinMs) };
      return { $case: 'probe', value };
    }
    case 'probe-answer': {
      const { witness, round, answered, sawJustNow } = message;
      return { $case: 'probeAnswer', value: { witness, round: n(round), answered, sawJustNow } };
    }
    case 'boot':
      return { $case: 'boot', value: { host: message.host } };
    case 'boot-answer':
      return { $case: 'bootAnswer', value: { highestEpoch: n(message.highestEpoch) } };
    case 'fence':
      return { $case: 'fence', value: { host: message.host, attempt: n(message.attempt) } };
    default:
      return { $case: 'fenceResult', value: { attempt: n(message.attempt), confirmed: message.confirmed } };
  }
}

/** Throws PROTOCOL_VIOLATION: an application that is half understood is not taken up. */
export function applicationFromWire(wire: WireSpec): ApplicationSpec {
  const { mode, addresses, ports, units, services, fenceScript } = wire;
  if (mode !== 'manual' && mode !== 'approve' && mode !== 'automatic')
    throw violation('a mode of detection that is none');
  if (addresses.length > ADDRESSES_MAX || ports.length > LIST_MAX || units.length > LIST_MAX) {
    throw violation('an application that protects too much');
  }
  if (services.length > SERVICES_MAX_BYTES) throw violation('services that are too long');
  if (fenceScript !== '' && !fenceScript.startsWith('/')) throw violation('a fence script that is not absolute');
  const timing = {
    renewMs: duration(wire.renewMs),
    leaseMs: duration(wire.leaseMs),
    marginMs: duration(wire.marginMs),
    suspectAfterMs: duration(wire.suspectAfterMs),
    outOfReachMs: duration(wire.outOfReachMs),
    bootAskMs: duration(wire.bootAskMs),
  };
  return {
    id: fileSafe(id(wire.id)),
    plan: bounded(wire.plan, NAME_MAX),
    revision: exact(wire.revision),
    mode,
    primaryHost: id(wire.primaryHost),
    standbyHost: id(wire.standbyHost),
    epoch: exact(wire.epoch),
    catalog: id(wire.catalog),
    peerAddresses: peers(wire.peerAddresses),
    addresses: addresses.map(addressFromWire),
    ports: ports.map(port),
    units: units.map((unit) => bounded(unit, 4096)),
    services: Buffer.from(services),
    ...timing,
    fenceScript: bounded(fenceScript, 4096),
  };
}

export function applicationToWire(spec: ApplicationSpec): WireSpec {
  return {
    ...spec,
    revision: n(spec.revision),
    epoch: n(spec.epoch),
    peerAddresses: [...spec.peerAddresses],
    addresses: spec.addresses.map((address) => ({ ...address })),
    ports: [...spec.ports],
    units: [...spec.units],
    services: Buffer.from(spec.services),
    renewMs: n(spec.renewMs),
    leaseMs: n(spec.leaseMs),
    marginMs: n(spec.marginMs),
    suspectAfterMs: n(spec.suspectAfterMs),
    outOfReachMs: n(spec.outOfReachMs),
    bootAskMs: n(spec.bootAskMs),
  };
}

/** host:port of agents. Throws PROTOCOL_VIOLATION. */
export function peers(addresses: readonly string[]): string[] {
  if (addresses.length > ADDRESSES_MAX) throw violation('too many addresses of an agent');
  for (const address of addresses) {
    if (!/^(\[[0-9A-Fa-f:.]{2,64}\]|[A-Za-z0-9.-]{1,253}):\d{1,5}$/.test(address)) {
      throw violation('an address of an agent that is none');
    }
  }
  return [...addresses];
}

function addressFromWire({ ip, device }: { readonly ip: string; readonly device: string }): ServiceAddress {
  const [host = '', length = '', ...rest] = ip.split('/');
  const family = isIP(host);
  const most = family === 6 ? 128 : 32;
  if (family === 0 || host.includes('%') || rest.length > 0 || !/^\d{1,3}$/.test(length) || Number(length) > most) {
    throw violation('a service address that is none');
  }
  if (!/^[^\s/:-][^\s/:]{0,14}$/.test(device)) throw violation('a network device that is none');
  return { ip, device };
}

function reportFromWire(report: WireReport | undefined): HostReport {
  if (report === undefined) throw violation('no report');
  return {
    host: id(report.host),
    highestEpoch: exact(report.highestEpoch),
    servingEpoch: exact(report.servingEpoch),
    serial: exact(report.serial),
    catalog: id(report.catalog),
    ...(report.trouble === '' ? {} : { trouble: bounded(report.trouble, 1000) }),
  };
}

function reportToWire(report: HostReport): WireReport {
  const { host, highestEpoch, servingEpoch, serial, catalog, trouble = '' } = report;
  return { host, highestEpoch: n(highestEpoch), servingEpoch: n(servingEpoch), serial: n(serial), catalog, trouble };
}

function numbersFromWire(numbers: OrderNumbers | undefined): CommandNumbers {
  if (numbers === undefined) throw violation('an order without numbers');
  const { catalog, term, epoch, attempt } = numbers;
  return { catalog: id(catalog), term: exact(term), epoch: exact(epoch), attempt: exact(attempt) };
}

function numbersToWire({ catalog, term, epoch, attempt }: CommandNumbers): OrderNumbers {
  return { catalog, term: n(term), epoch: n(epoch), attempt: n(attempt) };
}

function id(text: string): string {
  if (text === '') throw violation('an empty id');
  return bounded(text, ID_MAX);
}

/** It names a directory on the host. */
function fileSafe(text: string): string {
  if (!/^[A-Za-z0-9][A-Za-z0-9-]*$/.test(text)) throw violation('an application’s id that is none');
  return text;
}

function port(value: number): number {
  if (value < 1 || value > 65_535) throw violation('a port that is none');
  return value;
}

function duration(value: bigint): number {
  const ms = exact(value);
  if (ms < 1 || ms > DURATION_MAX_MS) throw violation('a duration that is none');
  return ms;
}

function n(value: number): bigint {
  return BigInt(value);
}

/** As bytes, for where messages are carried as such. */
export function encodeFailover(application: string, message: FailoverMessage): Buffer {
  return Buffer.from(WireMessage.encode(failoverToWire(application, message)).finish());
}

/** Throws as failoverFromWire does, and for what is no message at all. */
export function decodeFailover(bytes: Uint8Array): ReturnType<typeof failoverFromWire> {
  return failoverFromWire(WireMessage.decode(bytes));
}
