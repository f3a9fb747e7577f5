import { randomBytes } from 'node:crypto';
import { expect } from 'chai';
import type { HostStepSpec } from '@holdfast/shared/recovery/host-step';
import { systemClock } from '@holdfast/shared/runtime/clock';
import { removeScratchDirectories, scratchDirectory } from '../../testing/scratch-directory.ts';
import type { HostStep } from '../contract.ts';
import { lookUp, replaceAddresses } from './dns/name-server.ts';
import { parseTsigKey } from './dns/tsig.ts';
import { stepHost, type StepHost } from './testing/step-host.ts';
import { noBind, startBind, ZONE, type TestBind } from './testing/test-bind.ts';

const missing = noBind();
const WWW = `www.${ZONE}.`;
const NEW = '192.0.2.77';

(missing === undefined ? describe : describe.skip)(`moving a name (${missing ?? 'BIND'})`, function () {
  this.timeout(30_000);
  let bind: TestBind;
  let host: StepHost;

  beforeEach(async () => {
    bind = await startBind(scratchDirectory());
    host = stepHost(scratchDirectory());
  });
  afterEach(async () => {
    await bind.stop();
    removeScratchDirectories();
  });

  const step = (dns: object = {}): HostStepSpec & { type: 'traffic' } => ({
    id: 'switch',
    type: 'traffic',
    host: 'standby',
    in: ['unplanned'],
    needs: [],
    ahead: false,
    critical: true,
    via: [{ dns: { name: WWW, ttl: 30, value: NEW, server: bind.server, key: 'dns-key', ...dns } }],
  });
  const keyed = (secret: string = bind.keys['hmac-sha256']): Partial<HostStep> => ({
    secrets: new Map([['dns-key', Buffer.from(`${secret}\n`)]]),
  });
  const serverOf = (secret: string) => {
    const [, port = ''] = bind.server.split(':');
    const key = parseTsigKey(Buffer.from(secret), 'dns-key');
    return { host: '127.0.0.1', port: Number(port), key, clock: systemClock };
  };
  const never = new AbortController().signal;
  const stands = async (): Promise<unknown> => (await lookUp(serverOf(bind.keys['hmac-sha256']), WWW, never)).addresses;
  const BEFORE = [
    { address: '192.0.2.1', ttl: 60 },
    { address: '2001:db8::1', ttl: 60 },
  ];

  for (const algorithm of ['hmac-sha256', 'hmac-sha512'] as const) {
    it(`changes it under a key of ${algorithm}, finds its zone itself, and puts everything back`, async () => {
      const given = keyed(bind.keys[algorithm]);
      const looked = await host.do('precheck', step(), given);
      expect(looked, looked.message).to.include({ state: 'ok' });
      expect(looked.message).to.contain('192.0.2.1');
      expect(await stands()).to.deep.equal(BEFORE);
      expect(await host.do('probe', step(), given)).to.include({ state: 'not-done' });
      const applied = await host.do('apply', step(), given);
      expect(applied, applied.message).to.include({ state: 'ok' });
      expect(await stands()).to.deep.equal([{ address: NEW, ttl: 30 }]);
      expect(await host.do('apply', step(), { ...given, attempt: 2 })).to.include({ state: 'ok' });
      expect(await host.do('verify', step(), given)).to.include({ state: 'ok' });
      expect(await host.do('undo', step(), { ...given, attempt: 3 })).to.include({ state: 'ok' });
      expect(await stands()).to.deep.equal(BEFORE);
      expect(await host.do('verify', step(), given)).to.include({ state: 'failed' });
    });
  }

  it('what somebody else made of the name meanwhile is left alone', async () => {
    await host.do('apply', step(), keyed());
    const others = [{ address: '192.0.2.200', ttl: 5 }];
    await replaceAddresses(serverOf(bind.keys['hmac-sha256']), `${ZONE}.`, WWW, others, never);
    const undone = await host.do('undo', step(), keyed());
    expect(undone).to.include({ state: 'ok' });
    expect(undone.message).to.contain('left');
    expect(await stands()).to.deep.equal(others);
  });

  it('IPv6, an address of the step, or the host itself', async () => {
    const applied = await host.do('apply', step({ value: '2001:0DB8::0:77' }), keyed());
    expect(applied, applied.message).to.include({ state: 'ok' });
    expect(await stands()).to.deep.equal([{ address: '2001:db8::77', ttl: 30 }]);
    const own = { ...keyed(), attempt: 2, resolved: { bind: '192.0.2.12' } };
    expect(await host.do('apply', step({ value: undefined }), own)).to.include({ state: 'ok' });
    expect(await stands()).to.deep.equal([{ address: '192.0.2.12', ttl: 30 }]);
    const nothing = await host.do('precheck', step({ value: undefined }), keyed());
    expect(nothing).to.include({ state: 'failed' });
  });

  it('says what is wrong with the key, in a precheck already, and tells nobody the key', async () => {
    const secret = randomBytes(32).toString('base64');
    const wrong = [
      [`key-hmac-sha256 hmac-sha256 ${secret}`, 'BADSIG'],
      [`no-key hmac-sha256 ${secret}`, 'BADKEY'],
      [`key-hmac-sha256 hmac-md5 ${secret}`, 'no TSIG key'],
      [secret, 'no TSIG key'],
    ] as const;
    for (const [index, [text, word]] of wrong.entries()) {
      const answer = await host.do('precheck', step(), keyed(text));
      expect(answer).to.include({ state: 'failed' });
      expect(answer.message).to.contain(word);
      const applied = await host.do('apply', step(), { ...keyed(text), attempt: index + 1 });
      expect(applied).to.include({ state: 'failed' });
      expect(JSON.stringify([answer, applied, ...host.logged])).not.to.contain(secret);
    }
    expect((await host.do('precheck', step(), {})).remedy).to.equal('holdfast plan secret set dns-key');
    expect(await stands()).to.deep.equal(BEFORE);
  });

  it('says what the server refuses, an alias, and a name that it does not hold', async () => {
    const fixed = await host.do('apply', step({ name: `fixed.${ZONE}` }), keyed());
    expect(fixed).to.include({ state: 'failed' });
    expect(fixed.message).to.contain('REFUSED');
    const alias = await host.do('precheck', step({ name: `alias.${ZONE}` }), keyed());
    expect(alias).to.include({ state: 'failed' });
    expect(alias.message).to.contain('CNAME');
    const foreign = await host.do('precheck', step({ name: 'www.other.example', zone: 'other.example' }), keyed());
    expect(foreign).to.include({ state: 'failed' });
    await bind.stop();
    const away = await host.do('probe', step(), keyed());
    expect(away).to.include({ state: 'unknown' });
  });
});
