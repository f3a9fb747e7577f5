import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';

import { Gathering } from './gathering.ts';

const MIB = 1024 * 1024;

describe('gathering of a batch', () => {
  /** Whether the batch goes without anything else happening; `gone` becomes true when it does. */
  const start = (gathering: Gathering): { gone: boolean; readonly done: Promise<void> } => {
    const state = { gone: false, done: Promise.resolve() };
    state.done = gathering.enough().then(() => void (state.gone = true));
    return state;
  };

  it('goes by itself when nothing more comes', async () => {
    const gathering = new Gathering();
    gathering.add(1000, false);
    await gathering.enough();
  });

  it('goes at once with what its sender waits for, before or while it gathers', async () => {
    const gathering = new Gathering();
    gathering.add(1000, true);
    const before = start(gathering);
    await turn();
    expect(before.gone).to.equal(true);
    gathering.add(1000, false);
    const meanwhile = start(gathering);
    gathering.add(1000, true);
    await turn();
    expect(meanwhile.gone).to.equal(true);
  });

  it('goes at once when it is large', async () => {
    const gathering = new Gathering();
    for (let part = 0; part < 4; part++) gathering.add(MIB, false);
    const batch = start(gathering);
    await turn();
    expect(batch.gone).to.equal(true);
  });

  it('counts what came before towards that batch alone', async () => {
    const gathering = new Gathering();
    gathering.add(4 * MIB, false);
    await gathering.enough();
    gathering.add(1000, false);
    const next = start(gathering);
    // Microtasks alone: no timer can have fired.
    await Promise.resolve();
    expect(next.gone).to.equal(false);
    gathering.hurry();
    await turn();
    expect(next.gone).to.equal(true);
  });
});
