#ifndef WORDS_H
#define WORDS_H
#include <stddef.h>

/* How many words of `text` are different from all before them. */
size_t words_distinct(const char *text);

/* What the program says first. */
const char *words_greeting(void);

#endif
