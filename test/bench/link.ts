// Upload over a distant link: the same first backup straight and through a relay that delays every byte by 25 ms each way.
//
//   ./dev node test/dist/bench/link.js [MIB]
//
// The relay is a process of its own, so that what it costs is not counted as anybody's.

import { fork } from 'node:child_process';
import { createCipheriv } from 'node:crypto';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fleetDown, fleetKill, fleetStart, fleetUp, holdfast } from '../fleet/fleet.ts';
import { layoutOf } from '../fleet/layout.ts';

const DELAY_MS = 25;
const MIB = 1024 * 1024;
const [argument, ...relayArguments] = process.argv.slice(2);

/** Relays to `toPort`, every byte late by DELAY_MS; tells its parent where it listens. */
function relay(toPort: number): void {
  const server = createServer({ noDelay: true }, (near) => {
    const far = connect({ port: toPort, host: '127.0.0.1', noDelay: true });
    for (const [from, to] of [
      [near, far],
      [far, near],
    ] as const) {
      from.on('data', (bytes: Buffer) => setTimeout(() => to.write(bytes), DELAY_MS));
      from.on('close', () => setTimeout(() => to.destroy(), DELAY_MS));
      from.on('error', () => undefined);
    }
  });
  server.listen(0, '127.0.0.1', () => process.send!((server.address() as AddressInfo).port));
}

/** Bytes that no compressor shrinks. */
function noise(length: number): Buffer {
  const cipher = createCipheriv('aes-256-ctr', Buffer.alloc(32, length % 251), Buffer.alloc(16));
  return cipher.update(Buffer.alloc(length));
}

async function measured(dir: string, mib: number, name: string): Promise<void> {
  const source = join(dir, name);
  mkdirSync(source);
  for (let part = 0; part * 64 < mib; part++)
    writeFileSync(join(source, `part-${part}`), noise(64 * MIB + part + name.length * 7));
  await holdfast(join(dir, 'fleet'), ['source', 'add', name, '--host', 'far-1', '--type', 'files', '--path', source]);
  const { stdout, stderr, code } = await holdfast(join(dir, 'fleet'), ['backup', `far-1/${name}`, '--json']);
  if (code !== 0) throw new Error(`backup ended with ${code}: ${stderr}${stdout}`);
  const { bytesStored, seconds } = JSON.parse(stdout.trim().split('\n').at(-1)!) as {
    bytesStored: number;
    seconds: number;
  };
  console.log(
    `${name}: ${(bytesStored / 1e6).toFixed(0)} MB in ${seconds.toFixed(2)} s, ${(bytesStored / 1e6 / seconds).toFixed(0)} MB/s`,
  );
}

async function main(): Promise<void> {
  const mib = Number(argument ?? 1024);
  const dir = mkdtempSync(join(tmpdir(), 'holdfast-link-'));
  const fleetDir = join(dir, 'fleet');
  const { address } = await fleetUp({ dir: fleetDir, hosts: ['far-1'] });
  const child = fork(fileURLToPath(import.meta.url), ['relay', address.split(':')[1]!]);
  const listening = new Promise<number>((resolve) => child.once('message', (message) => resolve(Number(message))));
  try {
    await measured(dir, mib, 'straight');
    const port = await listening;
    writeFileSync(join(layoutOf(fleetDir).hostDir('far-1'), 'agent.yaml'), `controller: 127.0.0.1:${port}\n`);
    await fleetKill(fleetDir, 'far-1');
    await fleetStart(fleetDir, 'far-1');
    await measured(dir, mib, 'round-trip-of-50-ms');
  } finally {
    child.kill();
    await fleetDown(fleetDir);
    rmSync(dir, { recursive: true });
  }
}

if (argument === 'relay') relay(Number(relayArguments[0]));
else await main();
