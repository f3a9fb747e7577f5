import { expect } from 'chai';
import { HoldfastError } from '@holdfast/shared/base/errors';
import { ByteWindow } from './byte-window.ts';

describe('byte window', () => {
  it('W1 W2 lets out no more than fits, and serves in order', async () => {
    const window = new ByteWindow(10);
    const order: string[] = [];
    await window.take(6);
    const large = window.take(8).then(() => order.push('large'));
    const small = window.take(2).then(() => order.push('small'));
    await Promise.resolve();
    expect(order).to.deep.equal([]);
    window.release(6);
    await Promise.all([large, small]);
    expect(order).to.deep.equal(['large', 'small']);
    expect(window.outBytes).to.equal(10);
  });

  it('W1 lets one through that alone is larger than the window', async () => {
    const window = new ByteWindow(10);
    await window.take(100);
    expect(window.outBytes).to.equal(100);
  });

  it('fails everyone who waits when it is closed', async () => {
    const window = new ByteWindow(1);
    await window.take(1);
    const waiting = window.take(1).catch((error: unknown) => error);
    window.close(new HoldfastError('CANCELLED', 'over'));
    expect(await waiting).to.have.property('code', 'CANCELLED');
    expect(await window.take(1).catch((error: unknown) => error)).to.have.property('code', 'CANCELLED');
  });
});
