// The published test vectors of the repository format, computed anew.
//
// Everything comes from a few words: `seededBytes(word, n)` is the AES-256-CTR keystream under the key SHA-256(word), counter
// from zero. All byte strings are hexadecimal.

import { createPrivateKey, type KeyObject } from 'node:crypto';
import { bundleCloses } from '@holdfast/shared/format/bundle';
import { Chunker, gearTable } from '@holdfast/shared/format/chunker';
import type { CodecName } from '@holdfast/shared/format/codec';
import { encodeControllerRecord, type ControllerRecord } from '@holdfast/shared/format/controller-record';
import { ObjectKind, objectId } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys, SYSTEM_DOMAIN_ID, type DomainKeys } from '@holdfast/shared/format/keys';
import { seal } from '@holdfast/shared/format/seal';
import { encodeSnapshotRecord, rawPublicKey, type SnapshotRecord } from '@holdfast/shared/format/snapshot-record';
import { tagOf } from '@holdfast/shared/format/tag';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';
import { manifestVectors } from './compute-manifest-vectors.ts';

const MIB = 1024 * 1024;
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

export const master = seededBytes('holdfast vectors', 32);
const DOMAIN = 'vectors';

export interface EnvelopeVector {
  name: string;
  domainId: string;
  keyEpoch: number;
  kind: number;
  codec: CodecName;
  padding: boolean;
  references: string[];
  plain: string;
  envelope: string;
  id: string;
  proof: string;
}

export interface CutVector {
  name: string;
  /** Runs of content: a word and a length, or zeros. */
  content: ({ seed: string; bytes: number } | { zeros: number })[];
  /** Lengths of the pieces, zeros pieces negative. */
  pieces: number[];
}

/** Each file of test/vectors with what belongs in it. */
export function computeVectors() {
  return {
    'keys.json': keyVectors(),
    'tags.json': tagVectors(),
    'envelopes.json': envelopeVectors(),
    'chunking.json': chunkingVectors(),
    'bundles.json': bundleVectors(),
    'records.json': recordVectors(),
    'manifest.json': manifestVectors(),
  };
}

function keyVectors() {
  const cases: [string, number][] = [
    [DOMAIN, 0],
    [DOMAIN, 1],
    [DOMAIN, 0xffff],
    ['7f1d-ünïcode', 0],
    [SYSTEM_DOMAIN_ID, 0],
  ];
  return cases.map(([domainId, epoch]) => {
    const { mac, enc, tag, gear, node } = deriveDomainKeys(master, domainId, epoch);
    const keys = { mac: hex(mac), enc: hex(enc), tag: hex(tag), gear: hex(gear), node: hex(node) };
    return { masterSecret: hex(master), domainId, epoch, ...keys };
  });
}

function tagVectors() {
  const keys = deriveDomainKeys(master, DOMAIN, 0);
  return [0, 1, 64, 1_000, 300_000].map((bytes) => {
    const content = seededBytes('tag', bytes);
    return { domainId: DOMAIN, content: { seed: 'tag', bytes }, tag: hex(tagOf(keys, content)) };
  });
}

function envelopeVectors(): EnvelopeVector[] {
  const text = Buffer.from('To hold fast is to keep what was given. '.repeat(8));
  const noise = seededBytes('noise', 200);
  const references = [seededBytes('reference 1', 32), seededBytes('reference 2', 32)];
  const one = (
    name: string,
    kind: ObjectKind,
    plain: Buffer,
    how: { codec: CodecName; padding?: boolean; references?: Buffer[]; domainId?: string; keyEpoch?: number },
  ): EnvelopeVector => {
    const { codec, padding = false, references: refs = [], domainId = DOMAIN, keyEpoch = 0 } = how;
    const sealed = seal(deriveDomainKeys(master, domainId, keyEpoch), kind, refs, plain, { codec, padding });
    return {
      name,
      domainId,
      keyEpoch,
      kind,
      codec,
      padding,
      references: refs.map(hex),
      plain: hex(plain),
      envelope: hex(sealed.envelope),
      id: hex(sealed.id),
      proof: hex(sealed.proof),
    };
  };
  return [
    one('empty chunk', ObjectKind.chunk, Buffer.alloc(0), { codec: 'stored' }),
    one('stored chunk', ObjectKind.chunk, text, { codec: 'stored' }),
    one('LZ4 chunk', ObjectKind.chunk, text, { codec: 'lz4' }),
    one('Zstandard chunk', ObjectKind.chunk, text, { codec: 'zstd' }),
    one('chunk that LZ4 does not shrink', ObjectKind.chunk, noise, { codec: 'lz4' }),
    one('chunk with padding', ObjectKind.chunk, noise, { codec: 'stored', padding: true }),
    one('LZ4 chunk with padding', ObjectKind.chunk, text, { codec: 'lz4', padding: true }),
    one('manifest node with references', ObjectKind.manifestNode, noise, { codec: 'stored', references }),
    one('LZ4 node with references', ObjectKind.manifestNode, text, { codec: 'lz4', references }),
    one('snapshot record', ObjectKind.snapshotRecord, noise, { codec: 'stored', references: references.slice(0, 1) }),
    one('log segment', ObjectKind.logSegment, noise, { codec: 'stored' }),
    one('catalog backup', ObjectKind.catalogBackup, noise, { codec: 'stored', domainId: SYSTEM_DOMAIN_ID }),
    one('controller record', ObjectKind.controllerRecord, noise, { codec: 'stored', domainId: SYSTEM_DOMAIN_ID }),
    one('second key epoch', ObjectKind.chunk, text, { codec: 'lz4', keyEpoch: 1 }),
    one('Zstandard chunk, last key epoch', ObjectKind.chunk, text, { codec: 'zstd', keyEpoch: 0xffff }),
  ];
}

export function contentOf(parts: CutVector['content']): Buffer {
  return Buffer.concat(
    parts.map((part) => ('zeros' in part ? Buffer.alloc(part.zeros) : seededBytes(part.seed, part.bytes))),
  );
}

function chunkingVectors() {
  const gear = gearTable(deriveDomainKeys(master, DOMAIN, 0));
  const cut = (name: string, content: CutVector['content']): CutVector => ({
    name,
    content,
    pieces: piecesOf(gear, contentOf(content)),
  });
  return {
    masterSecret: hex(master),
    domainId: DOMAIN,
    gear: Array.from(gear.subarray(0, 16)),
    gearTableBytes: hex(Buffer.from(gear.buffer).subarray(0, 64)),
    cuts: [
      cut('pseudo-random stream', [{ seed: 'stream', bytes: 12 * MIB }]),
      cut('smaller than the minimum', [{ seed: 'stream', bytes: 100_000 }]),
      cut('zeros alone', [{ zeros: 9 * MIB }]),
      cut('zeros within, found at the next multiple of 64 KiB', [
        { seed: 'head', bytes: 700_000 },
        { zeros: 3 * MIB + 5 },
        { seed: 'tail', bytes: 400_000 },
      ]),
      cut('a run of zeros too short to count', [
        { seed: 'head', bytes: 300_000 },
        { zeros: 262_143 },
        { seed: 'tail', bytes: 10 },
      ]),
      cut('zeros first, exactly the minimum', [{ zeros: 262_144 }, { seed: 'tail', bytes: 300_000 }]),
    ],
  };
}

function piecesOf(gear: Uint32Array, content: Buffer): number[] {
  const chunker = new Chunker(gear);
  const lengths: number[] = [];
  for (let from = 0; from < content.length;) {
    const end = chunker.cut(content, from, content.length, true);
    lengths.push(chunker.lastWasZeros ? from - end : end - from);
    from = end;
  }
  return lengths;
}

function bundleVectors() {
  const keys: DomainKeys = deriveDomainKeys(master, DOMAIN, 0);
  return [1_000, 65_535, 65_536, 200_000, 400_000, 1_048_576, 1_500_000, 2_000_000, 2_097_151, 2_097_152].flatMap(
    (length) =>
      ['a', 'b', 'c'].map((word) => {
        const tag = tagOf(keys, Buffer.from(word));
        return { length, tag: hex(tag), closes: bundleCloses(length, tag) };
      }),
  );
}

function recordVectors() {
  const signing = signingKey(seededBytes('record key', 32));
  const root = seededBytes('manifest root', 32);
  const statistics = {
    entries: 11,
    files: 7,
    bytesTotal: 5_000_000_000,
    bytesRead: 123,
    bytesNew: 45,
    bytesStored: 6,
    durationMs: 789,
  };
  const snapshot: SnapshotRecord = {
    domainId: DOMAIN,
    hostId: 'host-1',
    sourceId: 'source-1',
    sourceType: 'files',
    sequence: 2,
    previousSnapshotId: seededBytes('previous snapshot', 32),
    startedAtMs: 1_790_000_000_000,
    finishedAtMs: 1_790_000_000_789,
    statistics,
    partial: true,
    warningsTotal: 1,
    warnings: [{ code: 'unreadable', path: 'caf\xe9/\xff', message: 'permission denied' }],
  };
  const snapshotId = seededBytes('snapshot', 32);
  const controller: ControllerRecord[] = [
    {
      kind: 'commit',
      snapshotId,
      domainId: DOMAIN,
      hostId: 'host-1',
      hostName: 'web-1',
      sourceId: 'source-1',
      sourceName: 'site',
      sourceType: 'files',
      sequence: 2,
      committedAtMs: 1_790_000_001_000,
      hostRecordPublicKey: rawPublicKey(signing),
      statistics,
      partial: true,
      warningsTotal: 1,
      startedAtMs: 1_790_000_000_000,
      domainName: 'default',
      domainManaged: true,
      domainKeyEpoch: 1,
      sourceSpec: seededBytes('source spec', 24),
    },
    {
      kind: 'lock',
      snapshotId,
      domainId: DOMAIN,
      lockedUntilMs: 1_800_000_000_000,
      lockedAtMs: 1_790_000_002_000,
      lockedBy: 'alice',
    },
    {
      kind: 'delete',
      snapshotId,
      domainId: DOMAIN,
      deletedAtMs: 1_790_000_003_000,
      deletedBy: 'retention',
      reason: 'expired',
    },
    {
      kind: 'logSegment',
      domainId: DOMAIN,
      hostId: 'host-1',
      sourceId: 'source-2',
      storedAtMs: 1_790_000_004_000,
      content: {
        kind: 'segment',
        segmentId: seededBytes('segment', 32),
        range: {
          stream: { systemIdentifier: '7389012345678901234', timeline: 1 },
          start: { order: 0x100_0000n, text: '0/1000000' },
          end: { order: 0x200_0000n, text: '0/2000000' },
          file: '',
          firstCommitAtMs: undefined,
          lastCommitAtMs: 1_790_000_003_500,
          completeToMs: 1_790_000_003_900,
          marks: ['name=before'],
          merged: false,
        },
      },
    },
  ];
  return {
    snapshot: {
      signingKeySeed: hex(seededBytes('record key', 32)),
      publicKey: hex(rawPublicKey(signing)),
      references: [hex(root)],
      domainId: snapshot.domainId,
      hostId: snapshot.hostId,
      sourceId: snapshot.sourceId,
      payload: hex(encodeSnapshotRecord(snapshot, root, signing)),
    },
    controller: controller.map((record) => ({ kind: record.kind, payload: hex(encodeControllerRecord(record)) })),
  };
}

function signingKey(seed: Buffer): KeyObject {
  const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
  return createPrivateKey({ key: der, format: 'der', type: 'pkcs8' });
}

/** The id of an envelope in hexadecimal. */
export const idOf = (envelope: string): string => hex(objectId(Buffer.from(envelope, 'hex')));
