import { expect } from 'chai';
import { HoldfastError, toHoldfastError } from './errors.ts';

describe('base/errors', () => {
  it('leaves its own as they are, and keeps what was thrown as the cause of others', () => {
    const own = new HoldfastError('BUSY', 'busy');
    expect(toHoldfastError(own)).to.equal(own);
    const foreign = new TypeError('wrong');
    expect(toHoldfastError(foreign)).to.include({ code: 'INTERNAL', message: 'wrong', cause: foreign });
    expect(toHoldfastError('text')).to.include({ code: 'INTERNAL', message: 'text' });
  });

  it('threat 5 a full disk is no internal error, wherever Node found it', () => {
    for (const code of ['ENOSPC', 'EDQUOT']) {
      const error = toHoldfastError(Object.assign(new Error(code), { code, path: '/var/lib/x' }));
      expect(error.code).to.equal('STORAGE_FULL');
      expect(error.message).to.contain('/var/lib/x');
    }
  });
});
