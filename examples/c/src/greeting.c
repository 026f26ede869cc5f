#include "words.h"

const char *words_greeting(void)
{
    return "words";
}
