import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { expect } from 'chai';
import { fromText } from '@holdfast/shared/base/byte-string';
import { removeScratchDirectories, scratchDirectory } from '../testing/scratch-directory.ts';
import { ExcludeRules } from './exclude-rules.ts';

describe('exclude rules', () => {
  afterEach(removeScratchDirectories);

  it('X1 without a rule nothing is asked: comments and empty lines are no rules', () => {
    expect(new ExcludeRules([]).decideAnything).to.equal(false);
    expect(new ExcludeRules(['', '# a comment', '   ']).decideAnything).to.equal(false);
    expect(new ExcludeRules([], ['include']).decide('a', false)).to.equal('keep');
  });

  it('X2 agrees with git where there are no includes', function () {
    const rules = [
      '*.o',
      '/build/',
      'docs/**/*.pdf',
      '!keep.o',
      'a?c',
      'data/[0-9]*',
      '**/node_modules/',
      'deep/**',
      'trailing\\ ',
      '\\#hash',
      'ü*',
    ];
    const paths = ['x.o', 'keep.o', 'src/x.o', 'src/keep.o', 'build/x', 'src/build/x', 'docs/a.pdf', 'docs/a/b/c.pdf', 'abc', 'aXc', 'axxc', 'data/1x', 'data/x', 'p/node_modules/q', 'node_modules', 'deep/a/b', 'deeper/a', 'trailing ', '#hash', 'über', 'X.O', '__proto__', '-0']; // prettier-ignore
    const dir = scratchDirectory();
    if (spawnSync('git', ['init', '-q', dir]).status !== 0) this.skip(); // No git to ask.
    writeFileSync(`${dir}/.gitignore`, rules.join('\n'));
    for (const path of paths) {
      const slash = path.lastIndexOf('/');
      if (slash > 0) mkdirSync(`${dir}/${path.slice(0, slash)}`, { recursive: true });
      writeFileSync(`${dir}/${path}`, '');
    }
    const asked = spawnSync('git', ['check-ignore', '-z', '--stdin'], { cwd: dir, input: paths.join('\0') });
    const ignored = asked.stdout
      .toString()
      .split('\0')
      .filter((path) => path !== '');
    const ours = new ExcludeRules(rules);
    const left = paths.filter((path) => leftOut(ours, path));
    expect(left).to.deep.equal(paths.filter((path) => ignored.includes(path)));
    expect(left.length).to.be.greaterThan(8);
  });

  it('names that are not UTF-8, and those that objects have of their own', () => {
    const rules = new ExcludeRules(['__proto__', 'constructor', 'é']);
    expect(rules.decide('__proto__', false)).to.equal('leave-out');
    expect(rules.decide('a/constructor', false)).to.equal('leave-out');
    expect(rules.decide('\xe9', false), 'é in Latin-1 is another name').to.equal('keep');
    expect(rules.decide(fromText('é'), false)).to.equal('leave-out');
    expect(rules.decide('new\nline', false)).to.equal('keep');
  });

  it('X3 an include reaches into left-out directories, as far as it could match', () => {
    const rules = new ExcludeRules(['/var/', '*.log'], ['/var/lib/app/**/*.conf', '/var/www', 'important.log']);
    expect(rules.decide('var', true)).to.equal('within');
    expect(rules.decide('var/lib', true)).to.equal('within');
    expect(rules.decide('var/lib/app/x/y', true)).to.equal('within');
    expect(rules.decide('var/lib/app/x/y/z.conf', false)).to.equal('keep');
    expect(rules.decide('var/lib/app/x/y/z.txt', false)).to.equal('leave-out');
    expect(rules.decide('var/www', true)).to.equal('keep');
    expect(rules.decide('var/www/a/b', false), 'beneath an include everything is kept').to.equal('keep');
    expect(rules.decide('home/important.log', false)).to.equal('keep');
    const anchored = new ExcludeRules(['/var/'], ['/var/www']);
    expect(anchored.decide('var/cache', true)).to.equal('leave-out');
    const wild = new ExcludeRules(['/home/'], ['/home/*/keep']);
    expect(wild.decide('home/a', true)).to.equal('within');
    expect(wild.decide('home/a/b', true)).to.equal('leave-out');
  });

  it('gives the same answer after a hundred thousand questions', () => {
    const rules = new ExcludeRules(['/skip/', '*.tmp']);
    expect(rules.decide('skip', true)).to.equal('leave-out');
    for (let i = 0; i < 100_000; i++) rules.decide(`d${i % 100}/file ${i}`, false);
    expect(rules.decide('skip/x', false)).to.equal('leave-out');
    expect(rules.decide('d/x.tmp', false)).to.equal('leave-out');
  });
});

/** As the walk asks: from the top down. */
function leftOut(rules: ExcludeRules, path: string): boolean {
  const names = path.split('/');
  return names.some((_, index) => {
    const isDirectory = index < names.length - 1;
    return rules.decide(fromText(names.slice(0, index + 1).join('/')), isDirectory) === 'leave-out';
  });
}
