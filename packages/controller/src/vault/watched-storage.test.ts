import { ManualClock } from '@holdfast/shared/testing/manual-clock';
import { expect } from 'chai';

import { Faults } from '../testing/faults.ts';
import { MemoryDisk } from '../testing/memory-disk.ts';
import { codeOf } from '../testing/vault-fixture.ts';
import { WatchedStorage } from './watched-storage.ts';

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('a target that is watched', () => {
  const setUp = () => {
    const disk = new MemoryDisk();
    const clock = new ManualClock();
    const events: string[] = [];
    const storage = new WatchedStorage(disk.mount(new Faults()), {
      clock,
      stallMs: 1000,
      log: (event) => events.push(event),
    });
    return { disk, clock, events, storage };
  };

  it('WS1 7 a call that does not return fails after the bound, and not before', async () => {
    const { disk, clock, storage } = setUp();
    disk.replace('x.pack', Buffer.from('text'));
    const release = disk.hang();
    let code = '';
    const reading = codeOf(storage.read('x.pack', 0, 4)).then((ended) => (code = ended));
    clock.advance(999);
    await settled();
    expect([code, storage.trouble]).to.deep.equal(['', '']);
    clock.advance(1);
    await reading;
    expect(code).to.equal('STORAGE_FAILED');
    expect(storage.trouble).to.equal('the disk of the vault has not answered for 1 s (read x.pack)');
    release();
  });

  it('WS1 7 much to write may take longer', async () => {
    const { disk, clock, storage } = setUp();
    const file = await storage.create('x.pack');
    const release = disk.hang();
    let code = '';
    const large = Array.from({ length: 32 }, () => Buffer.alloc(1024 * 1024));
    const writing = codeOf(file.append(large, 0)).then((ended) => (code = ended));
    clock.advance(1999);
    await settled();
    expect(code).to.equal('');
    clock.advance(1);
    await writing;
    expect(code).to.equal('STORAGE_FAILED');
    release();
  });

  it('WS2 7 while one is overdue none is begun, and when it is back all go on', async () => {
    const { disk, clock, storage, events } = setUp();
    const file = await storage.create('x.pack');
    const release = disk.hang();
    const writing = codeOf(file.append([Buffer.from('one')], 0));
    clock.advance(1001);
    expect(await writing).to.equal('STORAGE_FAILED');
    disk.hung = Promise.resolve();
    expect(await codeOf(storage.remove('x.pack')), 'refused although the disk would do it now').to.equal(
      'STORAGE_FAILED',
    );
    expect(disk.names()).to.deep.equal(['x.pack']);
    release();
    await settled();
    expect(storage.trouble).to.equal('');
    expect(disk.file('x.pack').toString(), 'the late write took effect').to.equal('one');
    await file.append([Buffer.from('two')], 3);
    expect((await storage.read('x.pack', 0, 6)).toString()).to.equal('onetwo');
    expect(events).to.deep.equal(['vault.target_hangs', 'vault.target_answers']);
  });

  it('WS3 7 a file that is made too late is closed, and so is one whose sync hangs, after it', async () => {
    const { clock } = setUp();
    const closed: string[] = [];
    let finish: (() => void)[] = [];
    const hanging = (): Promise<void> => new Promise((resolve) => finish.push(resolve));
    const inner = new MemoryDisk().mount(new Faults());
    const storage = new WatchedStorage(
      {
        ...inner,
        create: async (name) => {
          if (name === 'late.pack') await hanging();
          return {
            append: () => Promise.resolve(),
            sync: hanging,
            truncate: () => Promise.resolve(),
            close: () => Promise.resolve(void closed.push(name)),
          };
        },
      },
      { clock, stallMs: 1000, log: () => undefined },
    );
    const file = await storage.create('x.pack');
    const late = codeOf(storage.create('late.pack'));
    const syncing = codeOf(file.sync());
    clock.advance(1000);
    expect([await late, await syncing]).to.deep.equal(['STORAGE_FAILED', 'STORAGE_FAILED']);
    await file.close();
    expect(closed).to.deep.equal([]);
    for (const one of finish.splice(0)) one();
    await settled();
    expect(closed.toSorted()).to.deep.equal(['late.pack', 'x.pack']);
    finish = [];
  });

  it('a failure that comes in time is the target’s own', async () => {
    const { storage } = setUp();
    expect(await codeOf(storage.read('nothing.pack', 0, 1))).to.equal('NOT_FOUND');
    expect(storage.trouble).to.equal('');
  });
});
