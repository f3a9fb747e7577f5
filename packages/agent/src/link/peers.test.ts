import { expect } from 'chai';
import { createServer, type Server } from 'node:http';
import type { FailoverMessage } from '@holdfast/shared/failover/messages';
import { peerName, peerOf } from '@holdfast/shared/rpc/peer-name';
import { silentLog } from '@holdfast/shared/runtime/log';
import { HoldfastError } from '@holdfast/shared/base/errors';
import type { AgentIdentity } from './identity.ts';
import { newTestAuthority, type TestAuthority } from '../testing/test-authority.ts';
import { testPeer } from '../recovery/failover/testing/test-peer.ts';
import { peerAddresses } from '../recovery/failover/peer-addresses.ts';
import { newPeerLinks, type PeerLinks } from './peer-links.ts';
import { startPeerServer, type PeerServer } from './peer-server.ts';
import { askForWitness } from '../recovery/failover/witness.ts';

const stop: FailoverMessage = { kind: 'stop', epoch: 3 };
const stopped: FailoverMessage = { kind: 'stopped', host: 'h1', epoch: 3 };

describe('agents that answer each other', function suite() {
  this.timeout(20_000);
  let authority: TestAuthority;
  let server: PeerServer;
  const links: PeerLinks[] = [];
  const heard: string[] = [];

  before(async () => {
    authority = await newTestAuthority();
    server = await startPeerServer({
      identity: await testPeer(authority, 'h1', 'd1'),
      listen: '127.0.0.1:0',
      log: silentLog,
      heard: async (hostId, application, message) => {
        heard.push(`${hostId} ${application} ${message.kind}`);
        if (hostId !== 'h2') throw new HoldfastError('NOT_ALLOWED', 'not the other host');
        return await Promise.resolve([stopped]);
      },
    });
  });
  afterEach(() => {
    for (const link of links.splice(0)) link.close();
    heard.length = 0;
  });
  after(() => server.stop());

  const linksOf = (identity: AgentIdentity): PeerLinks => {
    const made = newPeerLinks(() => identity);
    links.push(made);
    return made;
  };
  const target = (hostId = 'h1', more: string[] = []): Parameters<PeerLinks['tell']>[0] => ({
    hostId,
    addresses: [...more, `127.0.0.1:${server.port}`],
    withinMs: 2000,
  });

  it('the other host of an application is heard, and gets its answer, at whichever address works', async () => {
    const own = linksOf(await testPeer(authority, 'h2', 'd1'));
    const answers = await new Promise<readonly FailoverMessage[]>((resolve) => {
      own.tell(target('h1', ['127.0.0.1:1']), 'app', stop, resolve);
    });
    expect(answers).to.deep.equal([stopped]);
    expect(heard).to.deep.equal(['h2 app stop']);
  });

  it('a ping is answered to hosts of the domain, and by the host that was meant alone', async () => {
    const own = linksOf(await testPeer(authority, 'h3', 'd1'));
    expect(await own.ping(target(), 'app', 2000)).to.equal(true);
    expect(await own.ping(target('h9'), 'app', 1000)).to.equal(false);
    const foreign = linksOf(await testPeer(authority, 'h2', 'd2'));
    expect(await foreign.ping(target(), 'app', 1000)).to.equal(false);
    const stranger = linksOf(await testPeer(await newTestAuthority(), 'h2', 'd1'));
    expect(await stranger.ping(target(), 'app', 1000)).to.equal(false);
    expect(heard).to.deep.equal([]);
  });

  it('a certificate names its host and domain, and one without a peer name names nobody', async () => {
    expect(peerName('h1', 'd1')).to.equal('h1.d1.peer.holdfast.internal');
    const { certificateChainPem } = await testPeer(authority, 'h1', 'd1');
    const der = Buffer.from(certificateChainPem.replace(/-----[^-]+-----/g, ''), 'base64');
    expect(peerOf(der)).to.deep.equal({ hostId: 'h1', domainId: 'd1' });
    const plain = Buffer.from(authority.serverChainPem.split('-----END')[0]!.replace(/-----[^-]+-----/, ''), 'base64');
    expect(peerOf(plain)).to.equal(undefined);
  });

  it('a witness tells whether the application answered, and whether the agent did', async () => {
    const statuses = [200, 302, 503];
    const web: Server = createServer((_request, response) => {
      response.statusCode = statuses.shift() ?? 500;
      response.end();
    });
    await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
    const address = web.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    const own = linksOf(await testPeer(authority, 'h3', 'd1'));
    const order = {
      kind: 'probe',
      round: 7,
      host: 'h1',
      url: `http://127.0.0.1:${port}/`,
      peerAddresses: [`127.0.0.1:${server.port}`],
      withinMs: 1500,
    } as const;
    const words = [];
    for (let asked = 0; asked < 3; asked++) words.push(await askForWitness('h3', 'app', order, own));
    expect(words.map(({ answered }) => answered)).to.deep.equal([true, true, false]);
    expect(words[0]).to.deep.equal({ kind: 'probe-answer', witness: 'h3', round: 7, answered: true, sawJustNow: true });
    web.close();
    // A listener that accepts and never answers is a paused process.
    const mute = createServer(() => undefined);
    await new Promise<void>((resolve) => mute.listen(0, '127.0.0.1', resolve));
    const muteAddress = mute.address();
    const mutePort = typeof muteAddress === 'object' && muteAddress !== null ? muteAddress.port : 0;
    const silent = { ...order, url: `http://127.0.0.1:${mutePort}/`, peerAddresses: [], withinMs: 300 };
    expect(await askForWitness('h3', 'app', silent, own)).to.include({ answered: false, sawJustNow: false });
    mute.closeAllConnections();
    mute.close();
  });

  it('tells the addresses of the host but for those that move, or what the settings say', () => {
    expect(peerAddresses({ listen: undefined, advertise: 'x:1' }, new Set())).to.deep.equal([]);
    expect(peerAddresses({ listen: '0.0.0.0:1', advertise: 'x:1' }, new Set())).to.deep.equal(['x:1']);
    expect(peerAddresses({ listen: '10.0.0.1:7402', advertise: undefined }, new Set())).to.deep.equal([
      '10.0.0.1:7402',
    ]);
    expect(peerAddresses({ listen: '[fd00::1]:7402', advertise: undefined }, new Set())).to.deep.equal([
      '[fd00::1]:7402',
    ]);
    const all = peerAddresses({ listen: '[::]:7402', advertise: undefined }, new Set());
    for (const address of all) expect(address).to.match(/^(\[[0-9a-f:]+\]|[0-9.]+):7402$/);
    // Nobody answers at an IPv6 address where only IPv4 is listened on.
    const older = peerAddresses({ listen: '0.0.0.0:7402', advertise: undefined }, new Set());
    expect(older).to.deep.equal(all.filter((address) => !address.startsWith('[')));
    const but = new Set(all.map((address) => address.slice(0, -':7402'.length).replace(/^\[|\]$/g, '')));
    expect(peerAddresses({ listen: '[::]:7402', advertise: undefined }, but)).to.deep.equal([]);
  });
});
