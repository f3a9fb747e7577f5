import { expect } from 'chai';
import { chmodSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { FailoverMessage } from '@holdfast/shared/failover/messages';
import type { ApplicationSpec } from '@holdfast/shared/rpc/failover-wire';
import type { Clock } from '@holdfast/shared/runtime/clock';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { silentLog } from '@holdfast/shared/runtime/log';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import { newTestAuthority } from '../../testing/test-authority.ts';
import { FORCE_FILE } from './force-serving.ts';
import { lazyServing, type LazyServing } from './lazy-serving.ts';
import { newPeerLinks } from '../../link/peer-links.ts';
import { knownApplications, RecordFiles } from './record-file.ts';
import { testPeer } from './testing/test-peer.ts';

const ID = '2f9e8f0e-5d2a-4a51-a0c6-1d1c53a6fb10';
/** Without ports and leases: it touches neither kernel nor network. */
const SPEC: ApplicationSpec = {
  id: ID,
  plan: 'shop',
  revision: 1,
  mode: 'manual',
  primaryHost: 'h1',
  standbyHost: 'h2',
  epoch: 1,
  catalog: '7/1',
  peerAddresses: [],
  addresses: [],
  ports: [],
  units: ['shop'],
  services: Buffer.alloc(0),
  renewMs: 100,
  leaseMs: 400,
  marginMs: 200,
  suspectAfterMs: 300,
  outOfReachMs: 60_000,
  bootAskMs: 60_000,
  fenceScript: '',
};

describe('failover in an agent', function suite() {
  this.timeout(20_000);
  const running: LazyServing[] = [];
  let state = '';
  let listen = '';
  let authority: Awaited<ReturnType<typeof newTestAuthority>>;
  let timers = 0;
  const counting: Clock = {
    ...systemClock,
    after(...words) {
      timers += 1;
      return systemClock.after(...words);
    },
  };

  before(async () => (authority = await newTestAuthority()));
  beforeEach(async () => {
    state = scratchDirectory();
    listen = `127.0.0.1:${await freePort()}`;
    timers = 0;
    mkdirSync(join(state, 'run'));
    const program = join(state, 'service');
    writeFileSync(
      program,
      `#!/bin/sh\ncase $1 in start) touch ${state}/run/on;; stop) rm -f ${state}/run/on;; status) test -e ${state}/run/on;; esac\n`,
    );
    chmodSync(program, 0o700);
    writeFileSync(join(state, 'run', 'on'), '');
  });
  afterEach(async () => {
    await Promise.all(running.splice(0).map((serving) => serving.stop()));
    removeScratchDirectories();
  });

  const start = async (said: FailoverMessage[] = []): Promise<LazyServing> => {
    const identity = await testPeer(authority, 'h1', 'd1');
    const program = join(state, 'service');
    const serving = lazyServing(
      {
        stateDir: state,
        identity: () => identity,
        bootId: 'boot',
        clock: counting,
        log: silentLog,
        peerListen: listen,
        toController: (_application, message) => said.push(message),
        services: { shop: { start: [program, 'start'], stop: [program, 'stop'], status: [program, 'status'] } },
        renewCertificate: () => undefined,
      },
      { listen, advertise: undefined },
    );
    running.push(serving);
    return serving;
  };
  const answersPeers = async (): Promise<boolean> => {
    const identity = await testPeer(authority, 'h2', 'd1');
    const links = newPeerLinks(() => identity);
    const answered = await links.ping({ hostId: 'h1', addresses: [listen], withinMs: 1000 }, ID, 1000);
    links.close();
    return answered;
  };

  it('AF3 an agent without applications has no timer and listens on no port; with one it answers its peers', async () => {
    const serving = await start();
    serving.update([], []);
    serving.heard(ID, { kind: 'beat' });
    expect(await serving.refuses({ application: ID, term: 1, epoch: 1 })).to.equal(undefined);
    expect(timers).to.equal(0);
    expect(await answersPeers()).to.equal(false);
    expect(serving.addresses()).to.deep.equal([listen]);
    serving.update([SPEC], []);
    await eventually(answersPeers);
    expect(timers).to.be.greaterThan(0);
  });

  it('AF1 goes on from disk without a controller; a list that lacks it changes nothing, a word that it was removed does', async () => {
    const told: FailoverMessage[] = [];
    const first = await start(told);
    first.update([SPEC], []);
    await eventually(() => told.some(({ kind }) => kind === 'status'));
    await first.activated(ID, 1);
    await first.stop();
    running.length = 0;
    const said: FailoverMessage[] = [];
    const again = await start(said);
    await eventually(() => said.some(({ kind }) => kind === 'status'));
    again.update([], []);
    said.length = 0;
    await eventually(() => said.some(({ kind }) => kind === 'status'));
    again.update([], [ID]);
    await eventually(() => knownApplications(state).length === 0);
  });

  it('AF2 hears only the other host about an application', async () => {
    const serving = await start();
    serving.update([SPEC], []);
    await eventually(answersPeers);
    for (const [host, heard] of [
      ['h3', false],
      ['h2', true],
    ] as const) {
      const identity = await testPeer(authority, host, 'd1');
      const links = newPeerLinks(() => identity);
      let answers = 0;
      await eventuallyOr(async () => {
        links.tell({ hostId: 'h1', addresses: [listen], withinMs: 500 }, ID, { kind: 'boot', host }, (messages) => {
          answers += messages.length;
        });
        await new Promise((resolve) => setTimeout(resolve, 100));
        return answers > 0;
      });
      expect(answers > 0).to.equal(heard);
      links.close();
    }
  });

  it('stops by an order of a step, whose services run for real; a person makes it serve again', async () => {
    const said: FailoverMessage[] = [];
    const serving = await start(said);
    serving.update([SPEC], []);
    await eventually(() => said.some(({ kind }) => kind === 'status'));
    await serving.refuses({ application: ID, term: 3, epoch: 1 });
    const files = new RecordFiles(state, ID);
    await serving.stopServing(ID, 2);
    expect(exists(join(state, 'run', 'on'))).to.equal(false);
    expect(files.load()?.record.term).to.equal(3);
    writeFileSync(join(files.directory, FORCE_FILE), 'now by root\n');
    await eventually(() => exists(join(state, 'run', 'on')));
    expect(files.load()?.forced).to.deep.equal(['now by root']);
  });

  it('runs the power-off script once for an attempt, with the primary’s name, and says again what became of it', async () => {
    const script = join(state, 'off.sh');
    writeFileSync(script, `#!/bin/sh\necho "$1" >>${state}/fenced\n`);
    chmodSync(script, 0o700);
    const said: FailoverMessage[] = [];
    const serving = await start(said);
    serving.update([{ ...SPEC, primaryHost: 'h2', standbyHost: 'h1', fenceScript: script }], []);
    await eventually(() => knownApplications(state).length === 1);
    const results = (): FailoverMessage[] => said.filter(({ kind }) => kind === 'fence-result');
    await eventually(() => {
      serving.heard(ID, { kind: 'fence', host: 'web-2', attempt: 4 });
      return results().length >= 3;
    });
    expect(results()).to.deep.include({ kind: 'fence-result', attempt: 4, confirmed: true });
    expect(readFileSync(join(state, 'fenced'), 'utf8')).to.equal('web-2\n');
    serving.heard(ID, { kind: 'fence', host: 'web-2', attempt: 3 });
    await eventually(() => said.some((message) => message.kind === 'fence-result' && message.attempt === 3));
    expect(readFileSync(join(state, 'fenced'), 'utf8')).to.equal('web-2\n');
  });
});

function exists(path: string): boolean {
  try {
    readFileSync(path);
    return true;
  } catch {
    return false;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address !== null ? address.port : 0;
}

/** Five tries: for what must not come, too. */
async function eventuallyOr(isSo: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 5 && !(await isSo()); tries++);
}

async function eventually(isSo: () => boolean | Promise<boolean>): Promise<void> {
  const untilMs = performance.now() + 10_000;
  while (!(await isSo())) {
    if (performance.now() > untilMs) throw new Error(`it did not come: ${isSo.toString()}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}
