/** The lab's command line is an interface: what is not in its table is refused, with a sentence. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { CouldNot } from '../../lab/answer.ts'
import { commands, helpText, parseInvocation, secondsIn } from '../../lab/arguments.ts'
import { faultFrom } from '../../lab/faults.ts'

test('the help names every command and every option', () => {
  const help = helpText()
  for (const [name, shape] of Object.entries(commands)) {
    assert.match(help, new RegExp(`  ${name} ${shape.words.join(' ')}\n`))
    for (const option of Object.keys(shape.options)) assert.match(help, new RegExp(`--${option}`))
  }
})

test('words and options are read, defaults filled in', () => {
  const up = parseInvocation(['up', '/lab', '--witness', '--size', '2G'])
  assert.equal(up?.command, 'up')
  assert.equal(up?.words.DIR, '/lab')
  assert.deepEqual([up?.flag('witness'), up?.text('size'), up?.text('client')], [true, '2G', 'tcp'])
  assert.equal(parseInvocation(['kill', '/lab', 'a', '--signal', 'TERM'])?.text('signal'), 'TERM')
  assert.equal(parseInvocation(['cut', '/lab', 'a', 'b', '--one-way'])?.flag('one-way'), true)
})

test('help is asked for in every usual way', () => {
  for (const argv of [[], ['--help'], ['-h'], ['help'], ['up', '--help']]) assert.equal(parseInvocation(argv), null)
})

test('what is wrong is refused', () => {
  for (const argv of [['fly'], ['up'], ['up', '/a', '/b'], ['up', '/a', '--fast'], ['wait', '/a', '--timeout']]) {
    assert.throws(() => parseInvocation(argv), CouldNot, argv.join(' '))
  }
  for (const text of [undefined, '', 'soon', '-1', 'NaN', '1e99']) {
    assert.throws(() => secondsIn(text, 'timeout'), CouldNot, String(text))
  }
  assert.equal(secondsIn('0.5', 'timeout'), 0.5)
})

test('faults are read, others refused', () => {
  assert.deepEqual(faultFrom('slow=250'), { kind: 'disk-slow', delayMs: 250 })
  assert.deepEqual(faultFrom('bitflip=0'), { kind: 'bitflip', offsetBytes: 0 })
  assert.deepEqual(faultFrom('disk-fail'), { kind: 'disk-fail' })
  for (const text of ['', 'slow', 'slow=', 'slow=-1', 'slow=fast', 'disk-fail=1', 'bitflip', 'rust', 'off=1']) {
    assert.throws(() => faultFrom(text), CouldNot, text)
  }
})
