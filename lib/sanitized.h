/* sanitized.h - IS_SANITIZED: 1 in a build with AddressSanitizer, whose runtime opens files and traces threads when it reports. */
#ifndef POSTERN_SANITIZED_H
#define POSTERN_SANITIZED_H

#if defined(__SANITIZE_ADDRESS__)
#define IS_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#ifndef IS_SANITIZED
#define IS_SANITIZED 0
#endif

#endif
