import { expect } from 'chai';
import { z } from 'zod';

import { parseConfig } from './config.ts';

const schema = z.strictObject({
  listen: z.string().default('here'),
  log: z.strictObject({ level: z.enum(['info', 'warn']).default('info') }).prefault({}),
});

const complaint = (text: string): string => {
  try {
    parseConfig(text, 'c.yaml', schema);
    return 'none';
  } catch (error) {
    return error instanceof Error ? error.message : '';
  }
};

describe('configuration', () => {
  it('fills in defaults', () => {
    expect(parseConfig('', 'c.yaml', schema)).to.deep.equal({ listen: 'here', log: { level: 'info' } });
  });

  it('names file, line and key of what is wrong', () => {
    expect(complaint('listen: x\n\nlog:\n  level: loud\n')).to.match(/^c\.yaml:4: log\.level: /);
    expect(complaint('listen: x\nlisten2: y\n')).to.equal('c.yaml:2: listen2: there is no such setting');
    expect(complaint('a: [1\n')).to.match(/^c\.yaml:\d: /);
    expect(complaint('- 1\n')).to.match(/^c\.yaml:1: the whole file: /);
  });

  it('refuses aliases, with which a small file can grow without end', () => {
    expect(complaint('a: &a [x]\nlisten: *a\n')).to.not.equal('none');
  });
});
