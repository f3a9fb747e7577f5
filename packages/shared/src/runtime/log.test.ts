import { Writable } from 'node:stream';

import { expect } from 'chai';

import { HoldfastError } from '../base/errors.ts';
import { openLog } from './log.ts';

describe('log', () => {
  it('writes one JSON line an event, with ids, without secrets, and foreign text can’t make a line', async () => {
    const lines: string[] = [];
    const stream = new Writable({
      write(chunk: Buffer, _encoding, done) {
        lines.push(chunk.toString());
        done();
      },
    });
    const log = openLog({ program: 'test', stream });
    log.debug('unheard');
    log.with({ host: 'web-1' }).warn('thing.happened', {
      ownerToken: 'hfo_x',
      path: 'a\nb',
      message: 'theirs',
      error: new HoldfastError('BUSY', 'why', { cause: new Error('deeper') }),
    });
    await log.flush();
    expect(lines.length).to.equal(1);
    const line = JSON.parse(lines[0] ?? '') as Record<string, Record<string, unknown>>;
    expect(line).to.include({ program: 'test', host: 'web-1', message: 'thing.happened', level: 'warn', path: 'a\nb' });
    expect(line).to.include({ ownerToken: '***', message_: 'theirs' });
    expect(line['error']).to.include({ code: 'BUSY', error: 'why', cause: 'deeper' });
  });
});
