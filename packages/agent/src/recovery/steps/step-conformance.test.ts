import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { join } from 'node:path';
import { systemClock } from '@holdfast/shared/runtime/clock';
import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';
import {
  joinNamespaces,
  noNamespaces,
  openNamespace,
  type NetworkNamespace,
} from '../failover/testing/network-namespace.ts';
import { lookUp } from './dns/name-server.ts';
import { noBind, startBind, ZONE } from './testing/test-bind.ts';
import { stepConformance, type StepFixture } from './testing/conformance-suite.test.ts';

const every = { id: 'it', in: ['unplanned' as const], needs: [], ahead: false, critical: true, host: 'standby' };
const never = new AbortController().signal;

function script(dir: string, name: string, text: string): string {
  const path = join(dir, name);
  writeFileSync(path, `#!/bin/sh\ncd ${dir} || exit 9\n${text}\n`);
  chmodSync(path, 0o755);
  return path;
}

function held(path: string): string {
  return existsSync(path) ? readFileSync(path, 'utf8') : '';
}

/** While there is a file `hold`, programs wait, and say so. */
const WAITS = 'if [ -e hold ]; then touch waits; while [ -e hold ]; do sleep 0.05; done; fi';

function slowIn(dir: string): NonNullable<StepFixture['slow']> {
  return {
    hold: () => writeFileSync(join(dir, 'hold'), ''),
    begun: () => existsSync(join(dir, 'waits')),
    release: () => rmSync(join(dir, 'hold')),
  };
}

function listening(server: Server): Promise<number> {
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      resolve(typeof address === 'object' && address !== null ? address.port : 0);
    });
  });
}

function closed(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

for (const probed of [true, false]) {
  stepConformance(
    probed ? 'command' : 'command (without a probe)',
    (dir) => {
      const run = [script(dir, 'migrate', `${WAITS}\necho migrated >database`)];
      const undo = [script(dir, 'revert', 'rm -f database')];
      const probe = [script(dir, 'is-migrated', 'test -e database')];
      return {
        spec: { ...every, type: 'command', run, undo, ...(probed ? { probe } : {}) },
        state: () => held(join(dir, 'database')),
        changes: { back: true },
        slow: slowIn(dir),
        close: () => undefined,
      };
    },
    true,
  );
}

stepConformance(
  'fence',
  (dir) => ({
    spec: { ...every, type: 'fence' },
    given: {
      resolved: { script: script(dir, 'power-off', `${WAITS}\necho "off $HOLDFAST_PRIMARY" >power`), primary: 'web-1' },
    },
    state: () => held(join(dir, 'power')),
    changes: { back: false },
    slow: slowIn(dir),
    close: () => undefined,
  }),
  true,
);

stepConformance('render', (dir) => {
  const file = join(dir, 'config.ini');
  writeFileSync(file, 'listen=10.77.0.11\n', { mode: 0o640 });
  return {
    spec: { id: 'it', type: 'render', files: [{ file, replace: { '10.77.0.11': '10.77.0.12' } }] },
    state: () => held(file),
    changes: { back: false },
    close: () => undefined,
  };
});

for (const type of ['service.start', 'service.stop'] as const) {
  stepConformance(
    type,
    (dir) => {
      // A daemon that goes on writing to where its start's output goes.
      const daemon = script(dir, 'daemon', 'echo $$ >pid; while :; do echo beat; sleep 0.2; done');
      const status = script(dir, 'status', 'test -e pid && kill -0 "$(cat pid)" 2>/dev/null');
      const start = script(
        dir,
        'start',
        `${WAITS}\n${status} && exit 8\nsetsid ${daemon} &\nuntil ${status}; do sleep 0.02; done`,
      );
      const stop = script(dir, 'stop', `${WAITS}\nkill "$(cat pid)"; while ${status}; do sleep 0.02; done; rm -f pid`);
      const isUp = (): boolean => {
        try {
          process.kill(Number(readFileSync(join(dir, 'pid'), 'utf8')), 0);
          return true;
        } catch {
          return false;
        }
      };
      if (type === 'service.stop') execFileSync(start, { stdio: 'ignore' });
      return {
        spec: { ...every, type, units: ['shop'] },
        given: { services: { shop: { start: [start], stop: [stop], status: [status] } } },
        state: () => (isUp() ? 'up' : 'down'),
        changes: { back: true },
        slow: slowIn(dir),
        close: () => {
          if (isUp()) process.kill(Number(readFileSync(join(dir, 'pid'), 'utf8')), 'SIGKILL');
        },
      };
    },
    true,
  );
}

for (const type of ['check.http', 'check.tcp', 'check.command'] as const) {
  stepConformance(type, async (dir) => {
    const server = createServer((_, response) => response.end('well'));
    const port = await listening(server);
    const look = script(dir, 'look', 'exit 0');
    const specs: readonly HostStepSpec[] = [
      { ...every, type: 'check.http', url: `http://127.0.0.1:${port}/healthz`, contains: 'well' },
      { ...every, type: 'check.tcp', address: `127.0.0.1:${port}` },
      { ...every, type: 'check.command', run: [look] },
    ];
    const spec = specs.find((one) => one.type === type);
    if (spec === undefined) throw new Error(type);
    return { spec, state: () => '', close: () => closed(server) };
  });
}

const missing = noNamespaces() ?? noBind();
(missing === undefined ? describe : describe.skip)(`in a namespace with BIND (${missing ?? 'it can be'})`, function () {
  this.timeout(30_000);
  stepConformance('traffic', async (dir) => {
    const own = await openNamespace();
    const other = await openNamespace();
    const ends = [own, other].map((namespace: NetworkNamespace, index) => {
      return { namespace, device: 'eth0', address: `10.77.0.1${index}/24` };
    });
    const [first, second] = ends;
    if (first === undefined || second === undefined) throw new Error('two ends');
    joinNamespaces(first, second);
    const told: string[] = [];
    const server = createServer((request, response) => {
      request.on('data', (body: Buffer) => {
        const { action }: { action: string } = JSON.parse(body.toString());
        if (action === 'apply') told.push(action);
        else told.pop();
      });
      request.on('end', () => response.end());
    });
    let bind: Awaited<ReturnType<typeof startBind>> | undefined;
    let hook = 0;
    await own.within(async () => {
      hook = await listening(server);
      bind = await startBind(dir);
    });
    if (bind === undefined) throw new Error('no BIND');
    const named = bind;
    const { server: nameServer, keys } = named;
    const [host = '', port = ''] = nameServer.split(':');
    const at = { host, port: Number(port), key: undefined, clock: systemClock };
    return {
      spec: {
        ...every,
        type: 'traffic',
        via: [
          { address: { ip: '10.77.0.100/24', dev: 'eth0' } },
          { dns: { name: `www.${ZONE}.`, ttl: 30, server: nameServer, key: 'key' } },
          { webhook: { url: `http://127.0.0.1:${hook}/` } },
        ],
      },
      given: { secrets: new Map([['key', Buffer.from(keys['hmac-sha256'])]]) },
      async state() {
        const { addresses } = await lookUp(at, `www.${ZONE}.`, never);
        const device = own.run('ip', '-o', 'address', 'show', 'dev', 'eth0').match(/inet [\d./]+/g);
        return JSON.stringify([device, addresses, told]);
      },
      changes: { back: true },
      within: (work) => own.within(work),
      async close() {
        await closed(server);
        await named.stop();
        own.close();
        other.close();
      },
    };
  });
});
