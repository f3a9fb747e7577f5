// Threat 41: peers that cost little to themselves and much to a server. A whole controller stands in this process; beside every flood
// a person and a host go on working, and what the flood leaves behind is counted.

import { once } from 'node:events';
import { connect, type TLSSocket } from 'node:tls';
import { connect as connectPlain, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { startTestController, type TestController, type TestHost } from '@holdfast/controller/testing/test-controller';
import { expect } from 'chai';
import { callHeaders, FLAG, FRAME, frame, headerBlock, openRawPeer, type RawPeer } from './raw-http2.ts';

const ENROL = '/holdfast.v1.Enrolment/Enrol';
/** Of the server: more streams of one connection are refused. */
const STREAMS_MAX = 128;
const ANONYMOUS_MAX = 512;

describe('41 floods', function floods() {
  this.timeout(60_000);
  let test: TestController;
  let host: TestHost;
  let port: number;
  const peers: RawPeer[] = [];
  const sockets: Socket[] = [];

  before(async () => {
    test = await startTestController();
    host = await test.enrolHost('web-1');
    port = test.controller.port;
  });
  afterEach(() => {
    for (const peer of peers.splice(0)) peer.close();
    for (const socket of sockets.splice(0)) socket.destroy();
  });
  after(async () => await test.close());

  const open = async (): Promise<RawPeer> => {
    const peer = await openRawPeer(port);
    peers.push(peer);
    return peer;
  };

  /** A person's call over a connection that was there before, and a host's over a new one. */
  const othersAreServed = async (): Promise<void> => {
    expect((await test.owner.listHosts({})).hosts.map(({ name }) => name)).to.deep.equal(['web-1']);
    const answers = test.control(host).connect(
      (async function* hello() {
        yield { kind: { $case: 'hello' as const, value: { protocolMin: 1, protocolMax: 1, processId: 'p' } } };
      })(),
    );
    for await (const { kind } of answers) {
      expect(kind?.$case).to.equal('welcome');
      break;
    }
  };

  const connections = async (): Promise<number> => {
    const text = await (await fetch(`http://127.0.0.1:${test.controller.metricsPort}/metrics`)).text();
    return Number(/^holdfast_connections\{kind="operator"\} (\d+)$/m.exec(text)?.[1]);
  };

  it('pings whose answers nobody reads end their connection, and nobody else’s', async () => {
    const peer = await open();
    peer.socket.pause();
    const pings = Buffer.concat(Array.from({ length: 5000 }, () => frame(FRAME.ping, 0, 0, Buffer.alloc(8))));
    let sent = 0;
    const flooding = (async () => {
      // The bound is on what the server takes: 17 MB of pings without an end would be one too many.
      while (sent < 200 && (await peer.send(pings))) sent++;
    })();
    await othersAreServed();
    // Answers that can't leave must not pile up: either the server ends the connection, or it stops reading.
    await Promise.race([flooding, peer.ended, sleep(3000)]);
    expect(peer.socket.destroyed || sent < 200, `took ${sent * 5000} pings`).to.equal(true);
    await othersAreServed();
  });

  it('header blocks that never end are refused after a few frames', async () => {
    const peer = await open();
    await peer.send(frame(FRAME.headers, 0, 1, callHeaders(ENROL)));
    const more = headerBlock(Array.from({ length: 60 }, (_, at) => [`x-${at}`, 'v'.repeat(100)] as const));
    let sent = 0;
    while (sent < 2000 && (await peer.send(frame(FRAME.continuation, 0, 1, more)))) {
      sent++;
      if (sent % 20 === 0) await sleep(1);
    }
    await peer.ended;
    expect(sent).to.be.lessThan(2000);
    await othersAreServed();
  });

  it('of 400 slow streams no more are held than one connection may have', async () => {
    const peer = await open();
    for (let at = 0; at < 400; at++) {
      const stream = 2 * at + 1;
      // A message of 64 KiB is announced, and one byte of it comes.
      const begun = frame(FRAME.data, 0, stream, Buffer.of(0, 0, 1, 0, 0, 7));
      await peer.send(Buffer.concat([frame(FRAME.headers, FLAG.endHeaders, stream, callHeaders(ENROL)), begun]));
    }
    await othersAreServed();
    for (let turns = 0; turns < 500 && !peer.socket.destroyed; turns++) {
      if ((peer.received.get(FRAME.resetStream) ?? 0) >= 400 - STREAMS_MAX) break;
      await sleep(10);
    }
    const refused = peer.received.get(FRAME.resetStream) ?? 0;
    expect(peer.socket.destroyed || refused >= 400 - STREAMS_MAX, `${refused} refused`).to.equal(true);
    await othersAreServed();
  });

  it('1,500 idle connections: strangers get the strangers’ places alone, and a host still comes in', async () => {
    const silent: TLSSocket[] = [];
    // A third of them does not even speak TLS.
    for (let at = 0; at < 500; at++) {
      const socket = connectPlain({ host: '127.0.0.1', port });
      socket.on('error', () => undefined);
      sockets.push(socket);
    }
    for (let batch = 0; batch < 20; batch++) {
      const opening = Array.from({ length: 50 }, async () => {
        const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['h2'] });
        socket.on('error', () => undefined);
        sockets.push(socket);
        silent.push(socket);
        await Promise.race([once(socket, 'secureConnect').catch(() => undefined), once(socket, 'close')]);
      });
      await Promise.all(opening);
    }
    expect(silent).to.have.length(1000);
    expect(await connections()).to.be.within(100, ANONYMOUS_MAX);
    await othersAreServed();
    for (const socket of sockets.splice(0)) socket.destroy();
    for (let turns = 0; turns < 500 && (await connections()) > 10; turns++) await sleep(10);
    expect(await connections(), 'none is kept').to.be.at.most(10);
  });
});
