// The hot path of a backup, byte for byte: what cutting, tagging and sealing cost beside the primitives they are made of.
//
//   ./dev node --conditions=holdfast-source test/bench/format.ts [--mib 64] [--rounds 5] [FILE OR DIRECTORY …]
//
// One thread, data in memory: files of the given places, or of this Node binary and the sources under node_modules. Each row
// has the least wall and processor time of its rounds, of the whole process (garbage collection runs on other threads).
// `openssl speed` runs first where it is installed. Nothing is asserted.

import { execFileSync } from 'node:child_process';
import { createCipheriv, createHmac, createSecretKey, hash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { constants, zstdCompressSync } from 'node:zlib';
import { Chunker, gearTable } from '@holdfast/shared/format/chunker';
import type { CodecName } from '@holdfast/shared/format/codec';
import { ObjectKind } from '@holdfast/shared/format/envelope';
import { deriveDomainKeys } from '@holdfast/shared/format/keys';
import { open, seal } from '@holdfast/shared/format/seal';
import { tagOf } from '@holdfast/shared/format/tag';
import { seededBytes } from '@holdfast/shared/testing/seeded-bytes';

const MIB = 1024 * 1024;
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: { mib: { type: 'string', default: '64' }, rounds: { type: 'string', default: '5' } },
});
const keys = deriveDomainKeys(seededBytes('bench', 32), 'bench', 0);
const limitBytes = Number(options.mib) * MIB;

interface Row {
  readonly name: string;
  readonly wallMs: number;
  readonly cpuMs: number;
  readonly bytes: number;
}

/** Least wall and least processor time of the rounds; `bytes` are the plain bytes that one round stands for. */
function measure(name: string, bytes: number, act: () => void): Row {
  let best: Row = { name, wallMs: Infinity, cpuMs: Infinity, bytes };
  act();
  for (let round = 0; round < Number(options.rounds); round++) {
    const cpuBefore = process.cpuUsage();
    const before = performance.now();
    act();
    const wallMs = performance.now() - before;
    const cpu = process.cpuUsage(cpuBefore);
    best = {
      name,
      bytes,
      wallMs: Math.min(best.wallMs, wallMs),
      cpuMs: Math.min(best.cpuMs, (cpu.user + cpu.system) / 1000),
    };
  }
  const perSecond = (ms: number): string => `${(bytes / ms / 1000).toFixed(0).padStart(6)} MB/s`;
  console.log(`  ${name.padEnd(52)}${perSecond(best.wallMs)} wall ${perSecond(best.cpuMs)} cpu`);
  return best;
}

function opensslSpeed(): void {
  for (const algorithm of ['sha256', 'aes-256-ctr']) {
    try {
      const args = ['speed', '-elapsed', '-seconds', '1', '-bytes', String(MIB), '-evp', algorithm];
      const output = execFileSync('openssl', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
      const kilobytes = Number(/([\d.]+)k\s*$/.exec(output.trim())?.[1]);
      console.log(`  ${`openssl speed ${algorithm}`.padEnd(52)}${(kilobytes / 1000).toFixed(0).padStart(6)} MB/s wall`);
    } catch {
      console.log(`  (openssl is not installed: no ${algorithm})`);
      return;
    }
  }
}

/** Contents of files, large and small, one after the other, up to the limit. */
function content(places: readonly string[]): Buffer {
  const parts: Buffer[] = [];
  let total = 0;
  const visit = (path: string): void => {
    if (total >= limitBytes) return;
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat?.isDirectory() === true) for (const name of readdirSync(path).toSorted()) visit(join(path, name));
    if (stat?.isFile() !== true) return;
    const bytes = readFileSync(path).subarray(0, limitBytes - total);
    parts.push(bytes);
    total += bytes.length;
  };
  for (const place of places) visit(place);
  return Buffer.concat(parts);
}

function cut(data: Buffer): Buffer[] {
  const chunker = new Chunker(gearTable(keys));
  const chunks: Buffer[] = [];
  for (let from = 0; from < data.length;) {
    const end = chunker.cut(data, from, data.length, true);
    if (!chunker.lastWasZeros) chunks.push(data.subarray(from, end));
    from = end;
  }
  return chunks;
}

const rawZstd = (plain: Buffer): Buffer =>
  zstdCompressSync(plain, { chunkSize: plain.length + 1024, params: { [constants.ZSTD_c_compressionLevel]: 1 } });
const iv = Buffer.alloc(16);
const secret = createSecretKey(seededBytes('raw', 32));
const rawAes = (bytes: Uint8Array): Buffer => createCipheriv('aes-256-ctr', secret, iv).update(bytes);
const rawHmac = (bytes: Uint8Array): Buffer => createHmac('sha256', secret).update(bytes).digest();
const rawSha = (bytes: Uint8Array): Buffer => hash('sha256', bytes, 'buffer');

function benchContent(title: string, data: Buffer): void {
  const chunks = cut(data);
  const packed = chunks.map(rawZstd);
  const packedBytes = packed.reduce((sum, bytes) => sum + bytes.length, 0);
  const plainBytes = chunks.reduce((sum, bytes) => sum + bytes.length, 0);
  const ratio = (packedBytes / plainBytes).toFixed(2);
  console.log(
    `\n${title}: ${(plainBytes / MIB).toFixed(0)} MiB in ${chunks.length} chunks, Zstandard 1 leaves ${ratio}`,
  );

  console.log(' primitives (MB of plain bytes)');
  const sha = measure('SHA-256', plainBytes, () => chunks.forEach(rawSha));
  const zstd = measure('Zstandard 1', plainBytes, () => chunks.forEach(rawZstd));
  const aes = measure('AES-256-CTR', plainBytes, () => chunks.forEach(rawAes));
  const onPacked = measure('HMAC + AES-CTR + SHA-256 of what Zstandard left', plainBytes, () => {
    for (const bytes of packed) rawSha(rawAes((rawHmac(bytes), bytes)));
  });

  console.log(' stages');
  const cutting = measure('cut', data.length, () => cut(data));
  measure('tag', plainBytes, () => chunks.forEach((chunk) => tagOf(keys, chunk)));
  const sealing = (codec: CodecName): Row =>
    measure(`seal ${codec}`, plainBytes, () =>
      chunks.forEach((chunk) => seal(keys, ObjectKind.chunk, [], chunk, { codec })),
    );
  const stored = sealing('stored');
  const sealed = sealing('zstd');
  sealing('lz4');
  const envelopes = chunks.map((chunk) => seal(keys, ObjectKind.chunk, [], chunk));
  measure('open zstd, with its id', plainBytes, () =>
    envelopes.forEach(({ envelope, id }) => open(keys, envelope, { id })),
  );

  console.log(' end to end');
  const whole = measure('cut, tag, seal zstd', data.length, () => {
    for (const chunk of cut(data)) {
      tagOf(keys, chunk);
      seal(keys, ObjectKind.chunk, [], chunk);
    }
  });
  // By processor time, which other programs on this machine disturb least.
  const share = (row: Row, ...of: Row[]): string =>
    (row.cpuMs / of.reduce((sum, one) => sum + one.cpuMs, 0)).toFixed(2);
  console.log(` seal stored / (HMAC, AES, SHA-256 of the same bytes)   ${share(stored, sha, sha, aes)}`);
  console.log(` seal zstd / (Zstandard, HMAC, AES, SHA-256)            ${share(sealed, zstd, onPacked)}`);
  console.log(
    ` end to end / (cut, SHA-256, Zstandard, HMAC, AES, SHA-256) ${share(whole, cutting, sha, zstd, onPacked)}`,
  );
}

/** Small files cost by the call, not by the byte. */
function benchSmall(): void {
  const count = 20_000;
  const data = seededBytes('small files', 64 * 1024);
  for (const size of [100, 1_000, 12_000]) {
    const files = Array.from({ length: count }, (_, i) => data.subarray(i % 1_000, (i % 1_000) + size));
    const row = measure(`tag of files of ${size} bytes`, count * size, () =>
      files.forEach((file) => tagOf(keys, file)),
    );
    console.log(`    ${((row.wallMs / count) * 1000).toFixed(1)} µs each`);
  }
  const row = measure('seal stored, 1,000 bytes', count * 1_000, () => {
    for (let i = 0; i < count; i++) seal(keys, ObjectKind.chunk, [], data.subarray(0, 1_000), { codec: 'stored' });
  });
  console.log(`    ${((row.wallMs / count) * 1000).toFixed(1)} µs each`);
}

console.log(
  `Node ${process.version}, OpenSSL ${process.versions.openssl}, Zstandard ${process.versions['zstd'] ?? ''}`,
);
opensslSpeed();
if (positionals.length > 0) {
  benchContent(positionals.join(', '), content(positionals));
} else {
  benchContent('a program', content([process.execPath]));
  benchContent('sources', content([join(import.meta.dirname, '../../node_modules/.pnpm')]));
}
benchContent('random bytes', seededBytes('random', limitBytes));
console.log('\nsmall pieces');
benchSmall();
