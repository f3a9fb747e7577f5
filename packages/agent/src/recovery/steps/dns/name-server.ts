// A zone's primary name server: asked what a name stands for, and told what it stands for from now on.
//
// Hazards: a server that never answers, or answers without end (time and bytes are bounded); a change of which nobody knows whether it was
// made (it may be made again: it says what is true afterwards, not what is to be added).
//
// Over TCP. Source: RFC 2136; RFC 7766 for the connection. Tested against BIND in traffic-dns.test.ts.

import { randomInt } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { connect } from 'node:net';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { Clock } from '@holdfast/shared/runtime/clock';
import {
  addressOf,
  addressRecord,
  decodeMessage,
  deleteRecords,
  encodeQuery,
  encodeUpdate,
  TYPE,
  type Message,
} from './message.ts';
import { canonicalName } from './names.ts';
import { isSigned, signMessage, verifyAnswer, type TsigKey } from './tsig.ts';

export interface NameServer {
  readonly host: string;
  readonly port: number;
  /** Undefined: neither questions nor answers are signed. */
  readonly key: TsigKey | undefined;
  /** What signatures are dated by. */
  readonly clock: Clock;
}

export interface Address {
  readonly address: string;
  /** Seconds. */
  readonly ttl: number;
}

export interface Addresses {
  /** IPv4 first, each kind sorted. */
  readonly addresses: readonly Address[];
  /** The name is another name's alias. */
  readonly isAlias: boolean;
}

const EXCHANGE_MS = 10_000;
/** More than what a service has. */
const ADDRESSES_MAX = 256;
const NXDOMAIN = 3;

/** RFC 1035, 4.1.1; RFC 2136, 2.2. */
const REFUSALS: Readonly<Record<number, string>> = {
  1: 'it does not understand the message (FORMERR)',
  2: 'it has a failure of its own (SERVFAIL): see its log',
  3: 'it says that the name does not exist (NXDOMAIN)',
  4: 'it knows no dynamic updates (NOTIMP)',
  5: 'it refuses the change (REFUSED): its policy for the zone does not allow it to this key or address',
  6: 'it has a name that should not be there (YXDOMAIN)',
  7: 'it has records that should not be there (YXRRSET)',
  8: 'it has no records that should be there (NXRRSET)',
  9: "it is not the zone's primary server, or does not accept the key (NOTAUTH)",
  10: 'the name is not in the zone (NOTZONE)',
};

/** What the server itself says, past every cache. Throws UNREACHABLE, NOT_ALLOWED, FAILED_PRECONDITION, UNAUTHENTICATED. */
export async function lookUp(server: NameServer, name: string, signal: AbortSignal): Promise<Addresses> {
  const found: Address[] = [];
  let isAlias = false;
  for (const type of [TYPE.A, TYPE.AAAA]) {
    const answer = await exchange(server, (id) => encodeQuery(id, { name, type }), signal);
    if (answer.rcode !== NXDOMAIN) refuse(server, answer);
    if (!answer.authoritative) {
      throw new HoldfastError('FAILED_PRECONDITION', `${placeOf(server)} does not hold the zone of ${name} itself`, {
        hint: "Name the zone's primary server in the plan: dns: {server: HOST}",
      });
    }
    const own = answer.answers.filter((record) => record.name === name);
    isAlias ||= own.some((record) => record.type === TYPE.CNAME);
    const addresses = own
      .filter((record) => record.type === type)
      .map((record) => ({ address: addressOf(record), ttl: record.ttl }));
    found.push(...addresses.toSorted((one, other) => (one.address < other.address ? -1 : 1)));
  }
  if (found.length > ADDRESSES_MAX) {
    throw new HoldfastError('LIMIT_EXCEEDED', `${name} has more than ${ADDRESSES_MAX} addresses`);
  }
  return { addresses: found, isAlias };
}

/** `name` stands for `addresses` from now on, and for no other ones. Throws like `lookUp`. */
export async function replaceAddresses(
  server: NameServer,
  zone: string,
  name: string,
  addresses: readonly Address[],
  signal: AbortSignal,
): Promise<void> {
  const changes = [
    deleteRecords(name, TYPE.A),
    deleteRecords(name, TYPE.AAAA),
    ...addresses.map(({ address, ttl }) => addressRecord(name, ttl, address)),
  ];
  refuse(server, await exchange(server, (id) => encodeUpdate(id, zone, changes), signal));
}

/** The zone that holds `name`, as the server says. Throws like `lookUp`. */
export async function zoneAt(server: NameServer, name: string, signal: AbortSignal): Promise<string> {
  const answer = await exchange(server, (id) => encodeQuery(id, { name, type: TYPE.SOA }), signal);
  if (answer.rcode !== NXDOMAIN) refuse(server, answer);
  const soa = [...answer.answers, ...answer.authority].find(({ type }) => type === TYPE.SOA);
  const holds = soa !== undefined && answer.authoritative && (soa.name === '.' || `.${name}`.endsWith(`.${soa.name}`));
  if (holds) return soa.name;
  throw new HoldfastError('FAILED_PRECONDITION', `${placeOf(server)} does not hold the zone of ${name}`);
}

/** Which zone holds `name`, and its primary server, as this host's resolver says. Throws FAILED_PRECONDITION. */
export async function findPrimary(name: string, zone: string | undefined): Promise<{ zone: string; host: string }> {
  const resolver = new Resolver({ timeout: 3000, tries: 2 });
  const labels = name.slice(0, -1).split('.');
  const candidates = zone === undefined ? labels.map((_, index) => `${labels.slice(index).join('.')}.`) : [zone];
  for (const candidate of candidates) {
    try {
      const { nsname } = await resolver.resolveSoa(candidate);
      return { zone: canonicalName(candidate), host: nsname };
    } catch {
      // No zone begins here; the next one up may.
    }
  }
  throw new HoldfastError('FAILED_PRECONDITION', `this host's resolver finds no primary server for ${name}`, {
    hint: 'Name it in the plan: dns: {server: HOST, zone: ZONE}',
  });
}

function refuse(server: NameServer, { rcode }: Message): void {
  if (rcode === 0) return;
  const why = REFUSALS[rcode] ?? `it answers with code ${rcode}`;
  throw new HoldfastError('FAILED_PRECONDITION', `the name server ${placeOf(server)}: ${why}`);
}

/** One message and its answer, both signed if there is a key. */
async function exchange(server: NameServer, encode: (id: number) => Buffer, signal: AbortSignal): Promise<Message> {
  const { key, clock } = server;
  const plain = encode(randomInt(65_536));
  const { signed, mac } = key === undefined ? { signed: plain, mac: plain } : signMessage(plain, key, clock.wallMs());
  const bytes = await send(server, signed, signal);
  try {
    const answer = checkedAnswer(bytes, plain);
    if (key === undefined) return answer;
    // A refusal that nobody signed is a refusal, too, and says more.
    if (answer.rcode !== 0 && answer.rcode !== NXDOMAIN && !isSigned(answer)) return answer;
    verifyAnswer(bytes, mac, key, clock.wallMs());
    return answer;
  } catch (error) {
    if (!(error instanceof HoldfastError)) throw error;
    throw new HoldfastError(error.code, `the name server ${placeOf(server)}: ${error.message}`, { hint: error.hint });
  }
}

function checkedAnswer(bytes: Buffer, question: Buffer): Message {
  const answer = decodeMessage(bytes);
  const [asked] = decodeMessage(question).questions;
  const [repeated] = answer.questions;
  const same = repeated === undefined || (repeated.name === asked?.name && repeated.type === asked.type);
  const opcode = (question.readUInt16BE(2) >> 11) & 15;
  if (!answer.isAnswer || answer.id !== question.readUInt16BE(0) || answer.opcode !== opcode || !same) {
    throw new HoldfastError('PROTOCOL_VIOLATION', 'its answer is to something else');
  }
  return answer;
}

function send(server: NameServer, message: Buffer, signal: AbortSignal): Promise<Buffer> {
  const length = Buffer.alloc(2);
  length.writeUInt16BE(message.length, 0);
  const until = AbortSignal.any([signal, AbortSignal.timeout(EXCHANGE_MS)]);
  return new Promise((resolve, reject) => {
    const socket = connect({ host: server.host, port: server.port, signal: until });
    const failed = (why: string): void => {
      socket.destroy();
      reject(
        signal.aborted
          ? new HoldfastError('CANCELLED', 'the step was ended')
          : new HoldfastError('UNREACHABLE', `the name server ${placeOf(server)} ${why}`),
      );
    };
    let heard = Buffer.alloc(0);
    socket.on('data', (chunk: Buffer) => {
      heard = Buffer.concat([heard, chunk]);
      if (heard.length < 2 || heard.length < 2 + heard.readUInt16BE(0)) return;
      socket.destroy();
      resolve(heard.subarray(2, 2 + heard.readUInt16BE(0)));
    });
    socket.once('error', (error) => {
      const late = until.aborted
        ? `does not answer within ${EXCHANGE_MS / 1000} s`
        : `can't be reached: ${error.message}`;
      failed(late);
    });
    socket.once('close', () => failed('ended the connection without an answer'));
    socket.write(Buffer.concat([length, message]));
  });
}

export function placeOf({ host, port }: Pick<NameServer, 'host' | 'port'>): string {
  return port === 53 ? host : host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}
