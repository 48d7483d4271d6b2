/**
 * Branded identifiers: two ids of different kinds cannot be mixed up by accident, at no cost at run time.
 */
declare const brand: unique symbol
type Brand<T, Name extends string> = T & { readonly [brand]: Name }

/** A server's identity: 32 lower-case hex digits, made once per storage folder. */
export type ServerId = Brand<string, 'ServerId'>
/** A volume's identity: 32 lower-case hex digits, made when the volume is created. */
export type VolumeId = Brand<string, 'VolumeId'>
/** The identity of one configuration (E1): 32 lower-case hex digits, random. */
export type ConfigurationId = Brand<string, 'ConfigurationId'>

const hex32 = /^[0-9a-f]{32}$/

/** @returns whether the text has the shape that all three identifiers share. */
export const isIdText = (text: unknown): text is string => typeof text === 'string' && hex32.test(text)

// The casts below are the only places where a plain string becomes an identifier; each follows a check.
function checked(text: string, what: string): string {
  if (!isIdText(text)) throw new TypeError(`${what} must be 32 lower-case hex digits, got ${JSON.stringify(text)}`)
  return text
}
/** @throws TypeError when the text is not 32 lower-case hex digits. */
export const serverId = (text: string): ServerId => checked(text, 'a server id') as ServerId
/** @throws TypeError when the text is not 32 lower-case hex digits. */
export const volumeId = (text: string): VolumeId => checked(text, 'a volume id') as VolumeId
/** @throws TypeError when the text is not 32 lower-case hex digits. */
export const configurationId = (text: string): ConfigurationId => checked(text, 'a configuration id') as ConfigurationId
